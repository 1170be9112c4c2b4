-- Lists the workers that are alive.
--
-- KEYS: 1 events, 2 inbox, 3 leases
-- ARGV: 1 group, 2 milliseconds of a lease
-- Returns: for each its name, how many entries it holds, and milliseconds since it was last heard of
local held = {}
for i = 1, 2 do
  for _, consumer in ipairs(of_group('XINFO', 'CONSUMERS', KEYS[i], ARGV[1]) or {}) do
    held[consumer[2]] = (held[consumer[2]] or 0) + consumer[4]
  end
end
local now, found = milliseconds(), {}
local leases = redis.call('ZRANGEBYSCORE', KEYS[3], whole(now), '+inf', 'WITHSCORES')
for i = 1, #leases, 2 do
  found[#found + 1] = {leases[i], held[leases[i]] or 0, math.max(tonumber(ARGV[2]) - (tonumber(leases[i + 1]) - now), 0)}
end
return found
