-- Ends deliveries, each in one step: acknowledges it, and keeps what it emitted, its retries and its dead letters.
--
-- XACK is the gate of each step: it answers 1 to one caller only, however often and by whomever a delivery is settled.
-- So of two workers that both handled it one wins, and a call whose reply was lost may be made again.
-- XACK frees memory, so a server whose memory is full lets all that follows it pass.
--
-- KEYS: 1 events, 2 inbox, 3 retries, 4 dead, 5 bell, 6 sequence
-- ARGV: 1 group, 2 number of steps, then for each step:
--       1 or 2 (the stream of the delivery, as in KEYS), entry id, number emitted, number of retries, number of letters,
--       for each event emitted the length of its record and the record,
--       for each retry the delay in milliseconds, the length of its record and the record,
--       for each dead letter the length of its record and the record
-- Returns: for each step 1 if it was done, 0 if the delivery was not to be settled any more, -1 if the group is gone
local types = {'stream', 'stream', 'zset', 'stream', 'stream', 'string'}
for i, wanted in ipairs(types) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= wanted then
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found .. ' and must be a ' .. wanted)
  end
end

-- Where each step begins. Reading all of them first means that a torn call does nothing at all.
local starts, at = {}, 3
local function count(position)
  local number = tonumber(ARGV[position])
  if not number then error('settle.lua: argument ' .. position .. ' is no number', 0) end
  return number
end
local function skip_record(position)
  local length = count(position)
  if length < 2 or length % 2 ~= 0 then error('settle.lua: argument ' .. position .. ' is no length', 0) end
  return position + 1 + length
end
for step = 1, count(2) do
  starts[step] = at
  local emitted, retries, letters = count(at + 2), count(at + 3), count(at + 4)
  if not KEYS[count(at)] then error('settle.lua: argument ' .. at .. ' is no stream', 0) end
  at = at + 5
  for _ = 1, emitted do at = skip_record(at) end
  for _ = 1, retries do
    count(at)
    at = skip_record(at + 1)
  end
  for _ = 1, letters do at = skip_record(at) end
end
if at ~= #ARGV + 1 then error('settle.lua: the call is torn', 0) end

local group, now, results, rung = ARGV[1], microseconds(), {}, false
for step, start in ipairs(starts) do
  local stream, id = KEYS[tonumber(ARGV[start])], ARGV[start + 1]
  if redis.call('XACK', stream, group, id) == 0 then
    -- It answers the same when the group is gone: that must not be taken for "done before".
    local gone = redis.pcall('XPENDING', stream, group).err
    results[step] = gone and -1 or 0
  else
    results[step] = 1
    if stream == KEYS[2] then redis.call('XDEL', stream, id) end -- the inbox is no history
    local at = start + 5
    for _ = 1, tonumber(ARGV[start + 2]) do
      local length = tonumber(ARGV[at])
      redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + length))
      at = at + 1 + length
    end
    for _ = 1, tonumber(ARGV[start + 3]) do
      local delay, length = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
      if delay > 0 then
        schedule(KEYS[3], KEYS[6], math.ceil(now / 1000) + delay, {unpack(ARGV, at + 2, at + 1 + length)})
        rung = true
      else
        redis.call('XADD', KEYS[2], '*', unpack(ARGV, at + 2, at + 1 + length))
      end
      at = at + 2 + length
    end
    for _ = 1, tonumber(ARGV[start + 4]) do
      local letter = {unpack(ARGV, at + 1, at + tonumber(ARGV[at]))}
      letter[#letter + 1] = 'dead_at'
      letter[#letter + 1] = whole(now)
      redis.call('XADD', KEYS[4], '*', unpack(letter))
      at = at + #letter - 1
    end
  end
end
if rung then ring(KEYS[5]) end
return results
