-- Counts what is kept, all at one instant.
--
-- KEYS: 1 events, 2 inbox, 3 schedule, 4 retries, 5 dead, 6 redriven, 7 leases, 8 groups
-- ARGV: 1 group, 2 'earliest' or 'latest': where the group will start if it does not exist yet,
--       3 the consumer that holds what was handed back
-- Returns: queued, pending, scheduled, dead, workers alive, milliseconds since the oldest pending entry was handed over
--          (-1: nothing is pending), history, milliseconds since the oldest event was kept that the group has not
--          settled (-1: there is none), milliseconds without a worker after which the group goes (-1: it stays)
local group, released = ARGV[1], ARGV[3]
local history = redis.call('XLEN', KEYS[1])

-- The id of the first event that the group has not read; nil if it has read all, and whether there is such a group.
local function first_unread()
  for _, found in ipairs(history > 0 and redis.call('XINFO', 'GROUPS', KEYS[1]) or {}) do
    local fields = {}
    for i = 1, #found, 2 do fields[found[i]] = found[i + 1] end
    if fields['name'] == group then
      local first = redis.call('XRANGE', KEYS[1], '(' .. fields['last-delivered-id'], '+', 'COUNT', 1)[1]
      return first and first[1], true
    end
  end
  if ARGV[2] == 'earliest' then
    local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    return first and first[1], false
  end
  return nil, false
end

-- Since when the oldest pending entry is: among the first thousand, where the oldest stand.
local function oldest_pending(stream)
  local oldest = -1
  for _, found in ipairs(of_group('XPENDING', stream, group, '-', '+', 1000) or {}) do
    if found[2] ~= released then oldest = math.max(oldest, found[3]) end
  end
  return oldest
end

local first, is_there = first_unread()
local new = 0
-- Whether there is anything unread is seen in the stream itself; only how much it is was counted.
if first then new = is_there and math.max(unread(KEYS[1], KEYS[8], group) or history, 1) or history end
local waiting, pending = queued(new, KEYS[1], KEYS[2], group, released)
local now = milliseconds()

local handed = of_group('XPENDING', KEYS[1], group)
if handed and handed[1] > 0 then first = handed[2] end
local since = first and math.max(now - string.match(first, '^%d+'), 0) or -1
return refused or {
  waiting,
  pending,
  redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4]),
  redis.call('XLEN', KEYS[5]) - redis.call('ZCARD', KEYS[6]),
  redis.call('ZCOUNT', KEYS[7], whole(now), '+inf'),
  math.max(oldest_pending(KEYS[1]), oldest_pending(KEYS[2])),
  history,
  since,
  tonumber(redis.call('HGET', KEYS[8], 'ephemeral:' .. group) or -1),
}
