-- What the server said when it refused to tell something of a group. Whoever asked returns it instead of an answer: who
-- may not look at a part must not be told the rest as if it were all.
local refused

-- Asks something about a group; nil if there is no such group, or if it is refused.
local function of_group(...)
  local found = redis.pcall(...)
  if not found.err then return found end
  -- The second is said of a stream that does not exist.
  local is_none = string.find(found.err, 'NOGROUP', 1, true) or string.find(found.err, 'no such key', 1, true)
  if not is_none then refused = found end
end
