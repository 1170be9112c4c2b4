-- Lists the workers that are alive.
--
-- KEYS: 1 events, 2 inbox, 3 leases, 4 topologies
-- ARGV: 1 group, 2 how many bytes it may have said of itself
-- Returns: 1 for each its name, how many entries it holds, milliseconds until its lease ends, what it said of itself
--            ('' for nothing), and the number of its topology (0 for none)
--          2 those topologies: workers that run the same one share it
local held = {}
for i = 1, 2 do
  for _, consumer in ipairs(of_group('XINFO', 'CONSUMERS', KEYS[i], ARGV[1]) or {}) do
    held[consumer[2]] = (held[consumer[2]] or 0) + consumer[4]
  end
end

-- Anybody may have written it: what is too long is passed over here.
local function told(field)
  local found = redis.call('HGET', KEYS[4], field)
  return found and #found <= tonumber(ARGV[2]) and found or ''
end

local graphs, numbers = {}, {[''] = 0}
local function number_of(graph)
  if not numbers[graph] then
    graphs[#graphs + 1] = graph
    numbers[graph] = #graphs
  end
  return numbers[graph]
end

local now, found = milliseconds(), {}
local leases = redis.call('ZRANGEBYSCORE', KEYS[3], whole(now), '+inf', 'WITHSCORES')
for i = 1, #leases, 2 do
  local name, left = leases[i], tonumber(leases[i + 1]) - now
  found[#found + 1] = {name, held[name] or 0, left, told('said:' .. name), number_of(told('graph:' .. name))}
end
return refused or {found, graphs}
