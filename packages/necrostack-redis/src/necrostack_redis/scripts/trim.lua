-- Forgets the oldest events, never one that some group has not settled. Also redriven letters that are as old.
--
-- KEYS: 1 events, 2 dead, 3 redriven
-- ARGV: 1 how many to leave at least ('' for none: the age alone decides), 2 the id before which to forget regardless
--       of how many there are ('' for none: the length alone decides), 3 at most so many at once,
--       4 microseconds before which redriven letters are forgotten ('' to leave them)
-- Returns: how many events were forgotten, and 1 if there may be more to forget
if ARGV[4] ~= '' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[4], 'LIMIT', 0, 100)) do
    redis.call('XDEL', KEYS[2], id)
    redis.call('ZREM', KEYS[3], id)
  end
end
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0} end

-- Compares entry ids, which are two numbers of up to 64 bits: more than Lua's can tell apart.
local function parts(id)
  local first, second = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #first) .. first, string.rep('0', 20 - #second) .. second
end
local function is_before(left, right)
  local first, second = parts(left)
  local third, fourth = parts(right)
  return first < third or (first == third and second < fourth)
end

-- What a group needs begins with its oldest pending entry, or else after the last one that it read.
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
if #groups == 0 then return {0, 0} end -- whoever comes first starts with everything
local needed, read
for _, found in ipairs(groups) do
  local group = {}
  for i = 1, #found, 2 do group[found[i]] = found[i + 1] end
  local pending = redis.call('XPENDING', KEYS[1], group['name'])
  if pending[1] > 0 then
    if not needed or is_before(pending[2], needed) then needed = pending[2] end
  end
  if not read or is_before(group['last-delivered-id'], read) then read = group['last-delivered-id'] end
end

local length, most = redis.call('XLEN', KEYS[1]), tonumber(ARGV[3])
local surplus = ARGV[1] ~= '' and length - tonumber(ARGV[1]) or 0
local count, last, from, is_done = 0, nil, '-', false
while not is_done and count < most do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 100)
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    local id = entry[1]
    local is_needed = (needed and not is_before(id, needed)) or is_before(read, id)
    local is_surplus = count < surplus or (ARGV[2] ~= '' and is_before(id, ARGV[2]))
    if is_needed or not is_surplus or count >= most then
      is_done = true
      break
    end
    count, last = count + 1, id
  end
  from = '(' .. entries[#entries][1]
end
if not last then return {0, 0} end
local first = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)[1]
if first then
  redis.call('XTRIM', KEYS[1], 'MINID', '=', first[1])
else
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
end
return {count, count >= most and 1 or 0}
