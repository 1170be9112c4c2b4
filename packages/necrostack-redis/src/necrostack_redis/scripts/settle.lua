-- Ends deliveries, each in one step: acknowledges it, and keeps what it emitted, its retries and its dead letters.
--
-- XACK is the gate of each step: it answers 1 to one caller only, however often and by whomever a delivery is settled.
-- So of two workers that both handled it one wins. After the first XACK nothing may fail: all checks come before.
-- A server whose memory is full lets a script go on that wrote something which needs none, as XACK does.
--
-- A call whose reply was lost is made again. What it ended the first time is written down for its worker, so that it gets
-- the same answer: when a worker says that it lacks answers, that is added to; when it has them all, it begins anew.
--
-- KEYS: 1 events, 2 inbox, 3 retries, 4 dead, 5 bell, 6 sequence, 7 settled by this worker, 8 groups, 9 nothing
-- ARGV: 1 group, 2 whether the worker lacks an answer, 1 or 0, 3 number of steps, then for each step:
--       1 or 2 (the stream of the delivery, as in KEYS), entry id,
--       and where it led to something '+', number emitted, number of retries, number of letters,
--       for each event emitted the length of its record and the record,
--       for each retry the delay in milliseconds, the length of its record and the record,
--       for each dead letter the length of its record and the record
-- Returns: for each step 1 if it was done, by this call or by one whose reply was lost,
--          0 if the delivery was not to be settled any more, -1 if the group is gone
local redis, KEYS, ARGV = redis, KEYS, ARGV -- what is global is looked up by its name each time
local SETTLED_FOR = 86400000 -- milliseconds: nobody waits longer for the answer to a call

local wrong = wrong_type({'stream', 'stream', 'zset', 'stream', 'stream', 'string', 'string', 'hash'})
if wrong then return wrong end

-- Where each step begins. Reading all of them first means that a torn call does nothing at all.
local starts, at, adds, schedules = {}, 4, {}, false
local function torn()
  return redis.error_reply('ERR the call is torn at argument ' .. at)
end
for step = 1, tonumber(ARGV[3]) or 0 do
  starts[step] = at
  if not (ARGV[at + 1] and (ARGV[at] == '1' or ARGV[at] == '2')) then return torn() end
  at = at + 2
  if ARGV[at] == '+' then
    local emitted, retries, letters = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    if not (letters and retries and emitted) then return torn() end
    at = at + 4
    for i = 1, emitted + retries + letters do
      local stream = KEYS[1]
      if i > emitted + retries then
        stream = KEYS[4]
      elseif i > emitted then
        local delay = tonumber(ARGV[at])
        if not delay then return torn() end
        if delay > 0 then schedules = true end
        stream = delay > 0 and KEYS[5] or KEYS[2]
        at = at + 1
      end
      adds[stream] = true
      local last, wrong_record = record_end(at)
      if wrong_record then return wrong_record end
      at = last + 1
    end
  end
end
if at ~= #ARGV + 1 then return torn() end
for stream in pairs(adds) do
  wrong = exhausted(stream)
  if wrong then return wrong end
end
wrong = schedules and wrong_count(KEYS[6])
if wrong then return wrong end
redis.call('ZREM', KEYS[3], '') -- removes nothing, but lets the rest pass when memory is full: it is not refused
try(KEYS[9], {'SET', 'XADD', 'XDEL'})
if schedules then
  try(KEYS[9], {'ZADD'})
  redis.call('INCRBY', KEYS[6], 0)
end

local group, now, results, rings = ARGV[1], microseconds(), {}, false
local settled = ARGV[2] == '1' and redis.call('GET', KEYS[7]) or ''
local news, acked = {settled}, 0
for step, start in ipairs(starts) do
  local stream, id = KEYS[tonumber(ARGV[start])], ARGV[start + 1]
  local name = ARGV[start] .. ':' .. id .. ' '
  if redis.call('XACK', stream, group, id) == 0 then
    results[step] = string.find(settled, name, 1, true) and 1 or 0
    -- It answers the same when the group is gone: that must not be taken for "done before".
    if results[step] == 0 and redis.pcall('XPENDING', stream, group).err then results[step] = -1 end
  else
    results[step] = 1
    news[#news + 1] = name
    if stream == KEYS[1] then
      acked = acked + 1
    else
      redis.call('XDEL', stream, id) -- the inbox is no history
    end
    if ARGV[start + 2] == '+' then
      local at = start + 6
      for _ = 1, tonumber(ARGV[start + 3]) do
        local length = tonumber(ARGV[at])
        redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + length))
        at = at + 1 + length
      end
      for _ = 1, tonumber(ARGV[start + 4]) do
        local delay, length = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
        if delay > 0 then
          schedule(KEYS[3], KEYS[6], math.ceil(now / 1000) + delay, {unpack(ARGV, at + 2, at + 1 + length)})
          rings = true
        else
          redis.call('XADD', KEYS[2], '*', unpack(ARGV, at + 2, at + 1 + length))
        end
        at = at + 2 + length
      end
      for _ = 1, tonumber(ARGV[start + 5]) do
        local letter = {unpack(ARGV, at + 1, at + tonumber(ARGV[at]))}
        letter[#letter + 1] = 'dead_at'
        letter[#letter + 1] = whole(now)
        redis.call('XADD', KEYS[4], '*', unpack(letter))
        at = at + #letter - 1
      end
    end
  end
end
-- If somebody else wrote into the count, it is of no use, and set right when nothing is left to read.
if acked > 0 then redis.pcall('HINCRBY', KEYS[8], 'settled:' .. group, acked) end
if rings then ring(KEYS[5]) end
if #news > 1 then redis.call('SET', KEYS[7], table.concat(news), 'PX', SETTLED_FOR) end
return results
