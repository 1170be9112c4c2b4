-- Removes a group with all that is kept for it, unless somebody works in it.
--
-- KEYS: 1 events, 2 inbox, 3 retries, 4 dead, 5 redriven, 6 leases, 7 topologies, 8 groups
-- ARGV: 1 group, 2 '1' to remove it only if it is ephemeral and nobody worked in it for as long as was declared
-- Returns: 1 if it was removed, 0 if it is not there or not yet to go, minus the number of its workers if some are alive
local group, now = ARGV[1], milliseconds()
local alive = redis.call('ZCOUNT', KEYS[6], whole(now), '+inf')
if ARGV[2] ~= '' then
  local after = redis.call('HGET', KEYS[8], 'ephemeral:' .. group)
  if not after then return 0 end
  -- A worker that leaves takes its lease with it, so what is seen of workers is written down.
  if alive > 0 then
    redis.call('HSET', KEYS[8], 'alive:' .. group, whole(now))
    return -alive
  end
  local seen = tonumber(redis.call('HGET', KEYS[8], 'alive:' .. group) or 0)
  local lease = redis.call('ZREVRANGE', KEYS[6], 0, 0, 'WITHSCORES')[2]
  if now < math.max(seen, tonumber(lease or 0)) + after then return 0 end
end
if alive > 0 then return -alive end

local removed = 0
if redis.call('EXISTS', KEYS[1]) == 1 then removed = redis.call('XGROUP', 'DESTROY', KEYS[1], group) end
for i = 2, 7 do removed = removed + redis.call('UNLINK', KEYS[i]) end
for _, name in ipairs({'settled:', 'ephemeral:', 'alive:'}) do
  removed = removed + redis.call('HDEL', KEYS[8], name .. group)
end
return removed > 0 and 1 or 0
