-- Forgets dead letters.
--
-- KEYS: 1 dead, 2 redriven
-- ARGV: the ids of the letters
-- Returns: how many there were to forget
local count = 0
for _, id in ipairs(ARGV) do
  count = count + redis.call('XDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return count
