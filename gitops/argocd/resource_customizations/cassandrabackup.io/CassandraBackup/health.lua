-- A backup is healthy when it is whole, and, where a rehearsal of it has ended, proven.
local hs = { status = "Progressing", message = "The operator has not looked at it yet" }
local status = obj.status
if status == nil or status.phase == nil then
  return hs
end
if status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and status.observedGeneration < obj.metadata.generation then
  return hs
end
local complete, verified = nil, nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Complete" then
    complete = condition
  elseif condition.type == "Verified" then
    verified = condition
  end
end
hs.message = status.phase
if complete ~= nil and complete.message ~= nil and complete.message ~= "" then
  hs.message = status.phase .. ": " .. complete.message
end
if status.phase == "Succeeded" then
  hs.status = "Healthy"
  if verified ~= nil and verified.status == "False" then
    hs.status = "Degraded"
    hs.message = "Not proven: " .. verified.message
  end
elseif status.phase == "Expired" then
  hs.status = "Healthy"
elseif status.phase == "Failed" or status.phase == "PartiallyFailed" then
  hs.status = "Degraded"
elseif status.phase == "Cancelled" then
  hs.status = "Suspended"
end
return hs
