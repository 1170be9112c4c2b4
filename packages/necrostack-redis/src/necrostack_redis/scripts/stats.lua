-- Counts what is kept, all at one instant.
--
-- KEYS: 1 events, 2 inbox, 3 schedule, 4 retries, 5 dead, 6 redriven, 7 leases
-- ARGV: 1 group, 2 'earliest' or 'latest': where the group will start if it does not exist yet,
--       3 the consumer that holds what was handed back
-- Returns: queued, pending, scheduled, dead, workers alive, milliseconds since the oldest pending entry was handed over
--          (-1: nothing is pending), history
local group = ARGV[1]

-- How many entries of a stream were handed over and not settled, how many of those were handed back, and the age of the
-- oldest: among the first thousand, where the oldest stand.
local function handed_over(stream)
  local summary = redis.pcall('XPENDING', stream, group)
  if summary.err then return 0, 0, -1 end
  local released, oldest = 0, -1
  for _, consumer in ipairs(summary[4] or {}) do
    if consumer[1] == ARGV[3] then released = tonumber(consumer[2]) end
  end
  if summary[1] > released then
    for _, pending in ipairs(redis.call('XPENDING', stream, group, '-', '+', 1000)) do
      if pending[2] ~= ARGV[3] and pending[3] > oldest then oldest = pending[3] end
    end
  end
  return summary[1], released, oldest
end

local live, live_released, live_oldest = handed_over(KEYS[1])
local again, again_released, again_oldest = handed_over(KEYS[2])
local history = redis.call('XLEN', KEYS[1])
local new = unread(KEYS[1], group)
if not new then new = ARGV[2] == 'earliest' and history or 0 end
-- What was settled is not in the inbox any more: what is not pending there was not read.
local queued = new + live_released + redis.call('XLEN', KEYS[2]) - again + again_released
return {
  queued,
  live - live_released + again - again_released,
  redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4]),
  redis.call('XLEN', KEYS[5]) - redis.call('ZCARD', KEYS[6]),
  redis.call('ZCOUNT', KEYS[7], whole(milliseconds()), '+inf'),
  math.max(live_oldest, again_oldest),
  history,
}
