--[[ Found a cluster, or answer which one lives here.

KEYS: 1 root. ARGV: 1 cluster id, 2 number of partitions, 3 format level, 4 "1" to found one.
]]
local m = redis.call('HMGET', KEYS[1], 'id', 'partitions', 'format', 'state')
if m[1] then return {'FOUND', m[1], m[2], m[3], m[4]} end
if ARGV[4] ~= '1' then return {'NONE'} end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'partitions', ARGV[2], 'format', ARGV[3], 'state', 'creating')
return {'FOUND', ARGV[1], ARGV[2], ARGV[3], 'creating'}
