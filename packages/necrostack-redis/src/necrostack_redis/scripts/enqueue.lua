-- Keeps events, all or none, unless the identical call was kept before or there is no room.
--
-- KEYS: 1 events, 2 schedule, 3 bell, 4 sequence, 5 mark of this call, 6 inbox, 7 retries, 8 groups, 9 nothing
-- ARGV: 1 group, 2 milliseconds that the mark stays, 3 milliseconds of delay, 4 how many may wait ('' without a bound),
--       5 'earliest' or 'latest': where the group will start if it does not exist yet,
--       6 the consumer that holds what was handed back, 7 number of events,
--       then for each event the length of its record and the record
-- Returns: 0, or how many fit and the bound, if it was full
local bound, delay = tonumber(ARGV[4]), tonumber(ARGV[3])

-- What to return if the identical call was kept before, else nil.
local function kept_before()
  if redis.call('EXISTS', KEYS[5]) == 1 then return wrong_type({[5] = 'string'}) or {} end
end

-- One event alone, as most are emitted, needs no looking ahead: making the mark tells whether it was there. It is what the
-- server refuses when memory is full, and if the event is refused, the mark is taken back: nothing was done.
if ARGV[7] == '1' and delay <= 0 and not bound then
  local last, wrong_record = record_end(8)
  if wrong_record then return wrong_record end
  if last ~= #ARGV then return redis.error_reply('ERR the call is torn') end
  local marked = redis.pcall('SET', KEYS[5], '', 'PX', ARGV[2], 'NX')
  if not marked or marked.err then
    return kept_before() or redis.call('SET', KEYS[5], '', 'PX', ARGV[2], 'NX') -- whose error tells where it was
  end
  local added = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, 9))
  if not added.err then return {} end
  redis.call('SET', KEYS[5], '', 'PXAT', 1) -- gone at once: it ended in 1970
  return wrong_type({'stream'}) or exhausted(KEYS[1]) or added
end

local kept = kept_before()
if kept then return kept end
local used = {'stream'}
if bound then used[2], used[6], used[7], used[8] = 'zset', 'stream', 'zset', 'hash' end
if delay > 0 then used[2], used[3], used[4] = 'zset', 'stream', 'string' end
local wrong = wrong_type(used)
if wrong then return wrong end

if bound then
  -- The group that is furthest behind counts, whoever's it is: what it has not read must be kept. Of our own group there
  -- is more to count: what goes again.
  local waiting, is_there = 0, false
  for _, name in ipairs(redis.call('HKEYS', KEYS[8])) do
    local group = string.match(name, '^settled:(.*)$')
    local new = group and unread(KEYS[1], KEYS[8], group)
    if new and group == ARGV[1] then new = queued(new, KEYS[1], KEYS[6], group, ARGV[6]) + redis.call('ZCARD', KEYS[7]) end
    if new then waiting, is_there = math.max(waiting, new), true end
  end
  if not is_there then -- nobody has read anything, and what goes again waits as well
    local new = ARGV[5] == 'earliest' and redis.call('XLEN', KEYS[1]) or 0
    waiting = queued(new, KEYS[1], KEYS[6], ARGV[1], ARGV[6]) + redis.call('ZCARD', KEYS[7])
  end
  if refused then return refused end
  waiting = waiting + redis.call('ZCARD', KEYS[2])
  if waiting + tonumber(ARGV[7]) > bound then return {math.max(bound - waiting, 0), bound} end
end

local at = 8
for _ = 1, tonumber(ARGV[7]) do
  local last, wrong_record = record_end(at)
  if wrong_record then return wrong_record end
  at = last + 1
end
if at ~= #ARGV + 1 then return redis.error_reply('ERR the call is torn') end
wrong = delay > 0 and wrong_count(KEYS[4]) or exhausted(delay > 0 and KEYS[3] or KEYS[1])
if wrong then return wrong end
-- When memory is full, the server refuses the first of these, and so the whole call.
try(KEYS[9], {'SET', 'XADD'})
if delay > 0 then
  try(KEYS[9], {'ZADD'})
  redis.call('INCRBY', KEYS[4], 0)
end

-- From here on nothing may fail.
local due = delay > 0 and math.ceil(microseconds() / 1000) + delay -- never early
at = 8
for _ = 1, tonumber(ARGV[7]) do
  local length = tonumber(ARGV[at])
  if due then
    schedule(KEYS[2], KEYS[4], due, {unpack(ARGV, at + 1, at + length)})
  else
    redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + length))
  end
  at = at + 1 + length
end
if due then ring(KEYS[3]) end
redis.call('SET', KEYS[5], '', 'PX', ARGV[2])
return {}
