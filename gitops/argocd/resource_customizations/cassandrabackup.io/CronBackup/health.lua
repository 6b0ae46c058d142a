-- A schedule is healthy when it is followed. How its backups end is told by themselves and by alerts: what Git says is
-- in order either way.
local hs = { status = "Progressing", message = "The operator has not looked at it yet" }
if obj.spec ~= nil and obj.spec.suspend == true then
  return { status = "Suspended", message = "No backups are made while spec.suspend is true" }
end
local status = obj.status
if status == nil or status.conditions == nil then
  return hs
end
if status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and status.observedGeneration < obj.metadata.generation then
  return hs
end
for _, condition in ipairs(status.conditions) do
  if condition.type == "Ready" then
    hs.message = condition.message
    if condition.status == "True" then
      hs.status = "Healthy"
    elseif condition.status == "False" then
      hs.status = "Degraded"
      hs.message = condition.reason .. ": " .. condition.message
    end
  end
end
return hs
