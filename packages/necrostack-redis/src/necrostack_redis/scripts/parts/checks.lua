-- A script does not roll back. What could fail is looked at here, before the first write.

local MOST_PARTS = 7000 -- of one record: Lua can hand over some 8000 values at once
local LAST_MILLISECOND = '18446744073709551615-'

-- Returns an error if one of the keys is of another type than is wanted there, else nil.
local function wrong_type(wanted)
  for i, type in pairs(wanted) do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found ~= 'none' and found ~= type then
      return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found .. ' and must be a ' .. type)
    end
  end
end

-- Returns an error if a stream can take no more entries, because somebody gave one the last id there is, else nil.
local function exhausted(stream)
  if redis.call('EXISTS', stream) == 0 then return nil end
  local facts = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' and string.sub(facts[i + 1], 1, #LAST_MILLISECOND) == LAST_MILLISECOND then
      return redis.error_reply('EXHAUSTED ' .. stream .. ' holds the last id that a stream may have and takes no more')
    end
  end
end

-- Returns an error if a counter does not hold what this app counts, else nil.
local function wrong_count(counter)
  local found = redis.call('GET', counter)
  if found and not (#found <= 15 and string.match(found, '^%d+$')) then
    return redis.error_reply('WRONGVALUE ' .. counter .. ' must be a whole number of up to 15 digits')
  end
end

-- Tries commands that write, on a key that never exists, so that they change nothing: a user without the permission for
-- one of them is refused here. When memory is full, the first one is refused, unless the script wrote before.
local function try(nothing, commands)
  for _, command in ipairs(commands) do
    if command == 'XADD' then redis.call('XADD', nothing, 'NOMKSTREAM', '*', 'none', '') end
    if command == 'XDEL' then redis.call('XDEL', nothing, '0-1') end
    if command == 'ZADD' then redis.call('ZADD', nothing, 'XX', 0, '') end
    if command == 'SET' then redis.call('SET', nothing, '', 'XX', 'PX', 1) end
  end
end

-- Returns where the record ends that begins with its length at a position of ARGV, and an error if there is none.
local function record_end(position)
  local length = tonumber(ARGV[position])
  if not length or length < 2 or length % 2 ~= 0 or length > MOST_PARTS or position + length > #ARGV then
    return nil, redis.error_reply('ERR no record of 2 to ' .. MOST_PARTS .. ' parts begins at argument ' .. position)
  end
  return position + length
end
