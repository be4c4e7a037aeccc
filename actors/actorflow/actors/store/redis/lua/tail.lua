--[[ Read on in the log of one actor, unless it was dropped or the actor replaced meanwhile.

KEYS: 1 state, 2 log. ARGV: 1 number, 2 generation of the log ("" for the first), 3 index of the first
entry, 4 index of the last one.
]]
local m = redis.call('HMGET', KEYS[1], 'n', 'g')
if m[1] ~= ARGV[1] or (m[2] or '') ~= ARGV[2] then return false end
return redis.call('LRANGE', KEYS[2], ARGV[3], ARGV[4])
