--[[ Create the meta of one partition while its cluster is founded.

KEYS: 1 meta. ARGV: 1 cluster id, 2 number of partitions, 3 format level, 4 partition.
]]
local cluster = redis.call('HGET', KEYS[1], 'cluster')
if cluster then return {cluster == ARGV[1] and 'OK' or 'OTHER', cluster} end
redis.call('HSET', KEYS[1], 'cluster', ARGV[1], 'partitions', ARGV[2], 'format', ARGV[3],
  'partition', ARGV[4], 'epoch', '0', 'owner', '', 'until', '0', 'ttl', '0', 'seq', '0', 'last', '',
  'number', '1', 'message', '1')
return {'OK', ARGV[1]}
