-- Lets dead letters go again, each at most once.
--
-- KEYS: 1 dead, 2 redriven, 3 inbox
-- ARGV: for each letter its id, the length of the record that goes again, and the record
-- Returns: how many went
redis.call('ZADD', KEYS[2], 'XX', 0, '') -- notes nothing: if it may not be done, or memory is full, that is told here
local now, count, at = microseconds(), 0, 1
while at < #ARGV do
  local id, length = ARGV[at], tonumber(ARGV[at + 1])
  if #redis.call('XRANGE', KEYS[1], id, id) > 0 and not redis.call('ZSCORE', KEYS[2], id) then
    -- It goes, and then that is noted: an inbox that takes nothing must not cost the letter. ZSCORE saw that it can be.
    redis.call('XADD', KEYS[3], '*', unpack(ARGV, at + 2, at + 1 + length))
    redis.call('ZADD', KEYS[2], whole(now), id)
    count = count + 1
  end
  at = at + 2 + length
end
return count
