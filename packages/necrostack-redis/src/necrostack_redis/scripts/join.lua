-- Makes a group where it does not exist, and makes a worker known in it.
--
-- KEYS: 1 events, 2 inbox, 3 leases, 4 topologies, 5 groups
-- ARGV: 1 group, 2 consumer, 3 milliseconds of a lease, 4 the id at which the group starts if it is made,
--       5 the topology that the worker runs, '' to leave that as it is,
--       6 milliseconds without a worker after which the group goes, '' if it stays: the last who joins decides
-- Returns: 1 whether the group was made, 2 the topologies of the other workers that are alive
local wrong = wrong_type({'stream', 'stream', 'zset', 'hash', 'hash'})
if wrong then return wrong end
redis.call('ZREM', KEYS[3], '') -- removes nothing, but lets the rest pass when memory is full: it is not refused
local made = 0
for i, start in ipairs({ARGV[4], '0'}) do
  local reply = redis.pcall('XGROUP', 'CREATE', KEYS[i], ARGV[1], start, 'MKSTREAM')
  if not reply.err then
    made = 1
    if i == 1 then
      local passed_over = ARGV[4] == '$' and redis.call('XLEN', KEYS[1]) or 0
      redis.call('HSET', KEYS[5], 'settled:' .. ARGV[1], passed_over + (redis.call('HGET', KEYS[5], 'forgotten') or 0))
    end
  elseif not string.find(reply.err, 'BUSYGROUP', 1, true) then
    return reply
  end
end

local now = milliseconds()
redis.call('ZADD', KEYS[3], whole(now + tonumber(ARGV[3])), ARGV[2])
if ARGV[6] == '' then
  redis.call('HDEL', KEYS[5], 'ephemeral:' .. ARGV[1], 'alive:' .. ARGV[1])
else
  redis.call('HSET', KEYS[5], 'ephemeral:' .. ARGV[1], ARGV[6], 'alive:' .. ARGV[1], whole(now))
end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[4], ARGV[2], ARGV[5]) end
local others = {}
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], whole(now), '+inf')) do
  local topology = other ~= ARGV[2] and redis.call('HGET', KEYS[4], other)
  if topology then others[#others + 1] = topology end
end
return {made, others}
