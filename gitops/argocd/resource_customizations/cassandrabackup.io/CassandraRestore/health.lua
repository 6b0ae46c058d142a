-- A restore is healthy when all is restored, or when a dry run has its plan.
local hs = { status = "Progressing", message = "The operator has not looked at it yet" }
local status = obj.status
if status == nil or status.phase == nil then
  return hs
end
if status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and status.observedGeneration < obj.metadata.generation then
  return hs
end
hs.message = status.phase
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Complete" and condition.message ~= nil and condition.message ~= "" then
    hs.message = status.phase .. ": " .. condition.message
  end
end
if status.phase == "Succeeded" or status.phase == "Planned" then
  hs.status = "Healthy"
elseif status.phase == "Failed" then
  hs.status = "Degraded"
elseif status.phase == "Cancelled" then
  hs.status = "Suspended"
end
return hs
