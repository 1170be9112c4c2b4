-- Hands over to a worker what it may handle next: what a dead worker left, what was handed back, what goes again,
-- what is new. Before that it moves what is due to where it will be read. Nothing here waits.
--
-- KEYS: 1 events, 2 inbox, 3 schedule, 4 retries, 5 leases, 6 dead, 7 bell, 8 topologies, 9 groups, 10 nothing
-- ARGV: 1 group, 2 consumer, 3 limit, 4 milliseconds of a lease, 5 how many of the limit may come of the inbox before
--       the events get their turn, 6 how often an entry may be recovered, 7 the facts of the letter for one that was
--       recovered too often, 8 the consumer that holds what was handed back, 9 the facts of the letter for what cannot be
--       read in a schedule
-- Returns: 1 entries: for each 1 or 2 (the stream, as in KEYS), its id, how often it was handed over, its fields
--          2 what became dead letters: for each the facts of the letter, and its fields
--          3 what to wait for, when there are no entries: milliseconds until something is due (-1: nothing is), and
--            the last id of events, inbox and bell that is no news any more
--          4 1 if nothing was found but new events
--          5 1 if the worker had no lease: others have taken over all it held
local group, me, limit, released = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[8]
local streams = {KEYS[1], KEYS[2]}

local wrong = wrong_type({'stream', 'stream', 'zset', 'zset', 'zset', 'stream', 'stream', 'hash', 'hash'})
if wrong then return wrong end

-- Both raise NOGROUP, before anything was done, when the group has to be made first.
local handed_back = {}
for i, stream in ipairs(streams) do handed_back[i] = redis.call('XPENDING', stream, group, '-', '+', limit, released) end

local now = milliseconds()
redis.call('ZREM', KEYS[5], '') -- removes nothing, but lets the rest pass when memory is full: it is not refused
try(KEYS[10], {'XADD', 'XDEL'})
local is_revived = redis.call('ZADD', KEYS[5], whole(now + tonumber(ARGV[4])), me)

local entries, buried, is_alone = {}, {}, false

-- No command can be given more than 8000 arguments from here. Nothing that a worker writes has a tenth of that.
local function is_record(fields)
  if type(fields) ~= 'table' or #fields == 0 or #fields % 2 ~= 0 or #fields > 1000 then return false end
  for _, part in ipairs(fields) do
    if type(part) ~= 'string' then return false end
  end
  return true
end

local function bury(fields, facts)
  local letter = {unpack(fields)}
  for _, part in ipairs({'letter', facts, 'dead_at', whole(microseconds())}) do letter[#letter + 1] = part end
  redis.call('XADD', KEYS[6], '*', unpack(letter))
  buried[#buried + 1] = {facts, fields}
end

-- What is due, at most as much as can be handed over now and some more, so that nobody waits long for this script.
local batch = math.max(limit, 100)
for _, from in ipairs({{KEYS[3], KEYS[1]}, {KEYS[4], KEYS[2]}}) do
  local due = redis.call('ZRANGEBYSCORE', from[1], '-inf', whole(now), 'LIMIT', 0, batch)
  wrong = #due > 0 and (exhausted(from[2]) or exhausted(KEYS[6]))
  if wrong then return wrong end
  for _, member in ipairs(due) do
    redis.call('ZREM', from[1], member)
    local is_read, record = pcall(cmsgpack.unpack, string.sub(member, 17))
    if is_read and is_record(record) then
      redis.call('XADD', from[2], '*', unpack(record))
    else
      bury({'member', member}, ARGV[9]) -- somebody else's: it must not stop what is behind it
    end
  end
end

local function has_room()
  return #entries < limit and not is_alone
end

-- Ends what is pending, and counts it, as settle.lua does.
local function acknowledge(i, id)
  local acked = redis.call('XACK', streams[i], group, id)
  if i == 1 then redis.pcall('HINCRBY', KEYS[9], 'settled:' .. group, acked) end
end

-- The fields of an entry; nil if it was trimmed while it was pending, and then it is pending no more.
local function body(i, id)
  local found = redis.call('XRANGE', streams[i], id, id)[1]
  if found then return found[2] end
  acknowledge(i, id)
end

-- Takes over an entry from another consumer. Returns whether it could be, or was no more to be.
local function take_over(i, pending, is_recovery)
  local id, delivered = pending[1], pending[4]
  local fields = body(i, id)
  if not fields then return true end
  if is_recovery and delivered > tonumber(ARGV[6]) and is_record(fields) and not exhausted(KEYS[6]) then
    acknowledge(i, id)
    if i == 2 then redis.call('XDEL', streams[i], id) end
    bury(fields, ARGV[7])
    return true
  end
  if is_recovery then delivered = delivered + 1 end
  -- What took its worker down twice is handed over alone: whatever else a third one held would be suspected, too.
  if delivered > 2 then
    if #entries > 0 then return false end
    is_alone = true
  end
  redis.call('XCLAIM', streams[i], group, me, 0, id, 'RETRYCOUNT', delivered, 'JUSTID')
  entries[#entries + 1] = {i, id, delivered, fields}
  return true
end

-- What the dead left. A consumer of whom nothing is left is removed here, where nothing can come in between.
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', '(' .. whole(now), 'LIMIT', 0, 10)) do
  local is_empty = true
  for i, stream in ipairs(streams) do
    -- One more than there is room for tells whether something stays.
    for _, pending in ipairs(redis.call('XPENDING', stream, group, '-', '+', limit - #entries + 1, dead)) do
      if not (has_room() and take_over(i, pending, true)) then is_empty = false end
    end
  end
  if is_empty then
    for _, stream in ipairs(streams) do is_empty = is_empty and #redis.call('XPENDING', stream, group, '-', '+', 1, dead) == 0 end
  end
  if is_empty then
    for _, stream in ipairs(streams) do redis.call('XGROUP', 'DELCONSUMER', stream, group, dead) end
    redis.call('ZREM', KEYS[5], dead)
    redis.call('HDEL', KEYS[8], dead, 'said:' .. dead, 'graph:' .. dead)
  end
end

for i = 1, 2 do
  for _, pending in ipairs(handed_back[i]) do
    if not has_room() or not take_over(i, pending, false) then break end
  end
end

-- Whether nothing waits before what is new: nothing was taken over, and the inbox was looked into and is empty.
local is_only_new = #entries == 0 and #handed_back[1] == 0 and #handed_back[2] == 0 and tonumber(ARGV[5]) > 0

local function read(i, count)
  if count <= 0 or not has_room() then return end
  local reply = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', count, 'STREAMS', streams[i], '>')
  for _, entry in ipairs(reply and reply[1] and reply[1][2] or {}) do
    if i == 2 then is_only_new = false end
    entries[#entries + 1] = {i, entry[1], 1, entry[2]}
  end
end
read(2, math.min(limit - #entries, tonumber(ARGV[5])))
read(1, limit - #entries)
if #entries > 0 or tonumber(ARGV[5]) <= 0 then read(2, limit - #entries) end

if #entries > 0 then return {entries, buried, {}, is_only_new and 1 or 0, is_revived} end

-- Nothing is there, so what is not pending was settled. If somebody changed the stream by hand, the count is right again.
local known = redis.call('XLEN', KEYS[1]) + (redis.call('HGET', KEYS[9], 'forgotten') or 0)
redis.call('HSET', KEYS[9], 'settled:' .. group, known - redis.call('XPENDING', KEYS[1], group)[1])

-- Say what the worker is to wait for.
local function last_read(stream)
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local name, id
    for i = 1, #found, 2 do
      if found[i] == 'name' then name = found[i + 1] end
      if found[i] == 'last-delivered-id' then id = found[i + 1] end
    end
    if name == group then return id end
  end
end
local due = -1
for _, key in ipairs({KEYS[3], KEYS[4], KEYS[5]}) do
  -- Our own lease is no matter of ours: who looks is alive.
  local found = redis.call('ZRANGE', key, 0, 1, 'WITHSCORES')
  local first = found[found[1] == me and 4 or 2]
  local left = first and math.max(tonumber(first) - now, 0)
  if left and (due < 0 or left < due) then due = left end
end
local rung = redis.call('XREVRANGE', KEYS[7], '+', '-', 'COUNT', 1)[1]
return {{}, buried, {due, last_read(KEYS[1]), last_read(KEYS[2]), rung and rung[1] or '0-0'}, 0, is_revived}
