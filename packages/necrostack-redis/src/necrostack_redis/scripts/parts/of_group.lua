-- Asks something about a group; nil if there is no such group. Whatever else is refused ends the script, as it would
-- without this: who may not look at a part must not be told the rest as if it were all.
local function of_group(...)
  local found = redis.pcall(...)
  if not found.err then return found end
  -- The second is said of a stream that does not exist.
  if string.find(found.err, 'NOGROUP', 1, true) or string.find(found.err, 'no such key', 1, true) then return nil end
  return redis.call(...)
end
