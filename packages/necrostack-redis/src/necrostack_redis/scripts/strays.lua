-- Lists what a worker holds: after a lost reply, it may hold what it never saw.
--
-- KEYS: 1 events, 2 inbox
-- ARGV: 1 group, 2 consumer, 3 the id after which to go on in events, 4 the same in inbox, 5 at most so many of each
-- Returns: the ids in events, and those in inbox
local found = {}
for i = 1, 2 do
  local ids = {}
  for _, pending in ipairs(redis.call('XPENDING', KEYS[i], ARGV[1], ARGV[2 + i], '+', ARGV[5], ARGV[2])) do
    ids[#ids + 1] = pending[1]
  end
  found[i] = ids
end
return found
