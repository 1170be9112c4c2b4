-- Ends a worker: hands back all that it holds, and removes it once it holds nothing.
--
-- KEYS: 1 events, 2 inbox, 3 bell, 4 leases, 5 topologies, 6 groups
-- ARGV: 1 group, 2 consumer, 3 the consumer that holds what was handed back, 4 at most so many entries of each stream
-- Returns: 1 if it is gone, 0 if it holds more
local group, me, released, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local count, is_empty = 0, true
for i = 1, 2 do
  local held = redis.pcall('XPENDING', KEYS[i], group, '-', '+', most, me)
  if held.err then
    if not string.find(held.err, 'NOGROUP', 1, true) then return held end -- what it holds would go with it
    held = {} -- the group is gone, and with it whatever was held
  end
  for _, pending in ipairs(held) do
    redis.call('XCLAIM', KEYS[i], group, released, 0, pending[1], 'JUSTID')
    count = count + 1
  end
  is_empty = is_empty and #held < most
end
if is_empty then
  for i = 1, 2 do redis.pcall('XGROUP', 'DELCONSUMER', KEYS[i], group, me) end
  redis.call('ZREM', KEYS[4], me)
  redis.call('HDEL', KEYS[5], me, 'said:' .. me, 'graph:' .. me)
  if redis.call('HEXISTS', KEYS[6], 'ephemeral:' .. group) == 1 then
    redis.call('HSET', KEYS[6], 'alive:' .. group, whole(milliseconds()))
  end
end
if count > 0 then redis.call('XADD', KEYS[3], 'MAXLEN', 1, '*', 'rung', '') end
return is_empty and 1 or 0
