-- Keeps a record in a schedule until it is due. The number before it tells apart, and keeps in order, what is due at once.
local function schedule(key, sequence, due, record)
  local number = redis.call('INCRBY', sequence, 1)
  redis.call('ZADD', key, whole(due), string.format('%016.0f', number) .. cmsgpack.pack(record))
end

-- Wakes the workers that wait, for what the streams they wait on do not tell them.
local function ring(bell)
  redis.call('XADD', bell, 'MAXLEN', 1, '*', 'rung', '')
end
