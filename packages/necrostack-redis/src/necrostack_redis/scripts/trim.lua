-- Forgets the oldest events, never one that some group has not settled, and redriven letters that are as old or as many.
--
-- KEYS: 1 events, 2 dead, 3 redriven, 4 groups
-- ARGV: 1 how many events to keep at the most ('' for any number), 2 the millisecond before which to forget them
--       ('' for none), 3 for how many milliseconds to keep them ('' for ever), 4 how many entries it may read at once,
--       5 '1' to forget letters, too
-- Returns: how many events were forgotten, 1 if there is more to forget, and the group that keeps the rest from being
--          forgotten ('' if none does)
local most, has_more = tonumber(ARGV[4]), 0
local before = tonumber(ARGV[2])
if ARGV[3] ~= '' then before = math.max(milliseconds() - tonumber(ARGV[3]), 0) end

if ARGV[5] ~= '' then
  local old = before and redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. whole(before * 1000), 'LIMIT', 0, most) or {}
  local surplus = ARGV[1] ~= '' and redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[1]) or 0
  if surplus > #old then old = redis.call('ZRANGE', KEYS[3], 0, math.min(surplus, most) - 1) end
  for _, id in ipairs(old) do
    redis.call('XDEL', KEYS[2], id)
    redis.call('ZREM', KEYS[3], id)
  end
  if #old == most then has_more = 1 end
end

local length = redis.call('XLEN', KEYS[1])
if length == 0 then return {0, has_more, ''} end
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
if #groups == 0 then return {0, has_more, ''} end -- whoever comes first starts with everything

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

-- The first event that some group needs, and which: its oldest pending entry, or else the first that it has not read.
local needed, holder = nil, ''
for _, found in ipairs(groups) do
  local group = {}
  for i = 1, #found, 2 do group[found[i]] = found[i + 1] end
  local pending = redis.call('XPENDING', KEYS[1], group['name'])
  local first = pending[1] > 0 and pending[2]
  if not first then
    local unread = redis.call('XRANGE', KEYS[1], '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
    first = unread and unread[1]
  end
  if first and (not needed or is_before(first, needed)) then needed, holder = first, group['name'] end
end

-- Whole nodes of the stream first, and not too many: the server does nothing else meanwhile.
local forgotten, is_held = 0, false
local function forget(by, threshold)
  local count = redis.call('XTRIM', KEYS[1], by, '~', threshold, 'LIMIT', 10000)
  if count < 5000 then count = count + redis.call('XTRIM', KEYS[1], by, '=', threshold) else has_more = 1 end
  forgotten, length = forgotten + count, length - count
end

if before then
  local stays = whole(before) .. '-0'
  if needed and is_before(needed, stays) then stays, is_held = needed, true end
  forget('MINID', stays)
end

local surplus = ARGV[1] ~= '' and length - tonumber(ARGV[1]) or 0
if surplus > 0 then
  -- To know how many may go is to know how many are needed, which are few, unless some group is far behind.
  local waiting = needed and #redis.call('XRANGE', KEYS[1], needed, '+', 'COUNT', most + 1) or 0
  if waiting <= most then
    is_held = is_held or length - waiting < surplus
    forget('MAXLEN', math.max(length - surplus, waiting))
  else
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(surplus, most) + 1)
    local stays = oldest[#oldest][1]
    if is_before(needed, stays) then
      stays, is_held = needed, true
    elseif surplus > most then
      has_more = 1
    end
    forget('MINID', stays)
  end
end

if forgotten > 0 then redis.call('HINCRBY', KEYS[4], 'forgotten', forgotten) end
return {forgotten, has_more, is_held and holder or ''}
