-- Lists what is handed over and not settled, a page of each stream at a time.
--
-- KEYS: 1 events, 2 inbox
-- ARGV: 1 group, 2 the consumer that holds what was handed back, 3 the id after which to go on in events,
--       4 the same in inbox ('' when that is done), 5 at most so many of each
-- Returns: 1 for each its worker, milliseconds since it was handed over, its fields,
--          2 where to go on in events, 3 in inbox, each '' when that is done
local page, nexts = {}, {}
for i = 1, 2 do
  local from = ARGV[2 + i]
  local held = from ~= '' and of_group('XPENDING', KEYS[i], ARGV[1], from, '+', ARGV[5]) or {}
  for _, pending in ipairs(held) do
    local entry = pending[2] ~= ARGV[2] and redis.call('XRANGE', KEYS[i], pending[1], pending[1])[1]
    if entry then page[#page + 1] = {pending[2], pending[3], entry[2]} end
  end
  nexts[i] = #held == tonumber(ARGV[5]) and '(' .. held[#held][1] or ''
end
return refused or {page, nexts[1], nexts[2]}
