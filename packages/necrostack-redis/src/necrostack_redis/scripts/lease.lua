-- A worker's sign of life: it stays alive for another lease. It also finds workers that have none, as when one read that
-- was frozen and had been removed, and gives them one that will end.
--
-- KEYS: 1 events, 2 inbox, 3 leases
-- ARGV: 1 group, 2 consumer, 3 milliseconds of a lease, 4 the consumer that holds what was handed back
-- Returns: milliseconds by which the lease had ended before, 0 if it had not, -1 if there was none: others took over
local now, length = milliseconds(), tonumber(ARGV[3])
local ends = redis.call('ZSCORE', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[3], '') -- removes nothing, but lets the rest pass when memory is full: it is not refused
redis.call('ZADD', KEYS[3], whole(now + length), ARGV[2])
for i = 1, 2 do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[i], ARGV[1])
  if not consumers.err then
    for _, consumer in ipairs(consumers) do
      local name = consumer[2]
      if name ~= ARGV[2] and name ~= ARGV[4] then redis.call('ZADD', KEYS[3], 'NX', whole(now + length), name) end
    end
  end
end
return ends and math.max(now - tonumber(ends), 0) or -1
