--[[ Look at one partition: who owns it, how far its commits are, what waits. Reads alone.

KEYS: 1 meta, 2 messages, 3 parked, 4 due, 5 outbox, 6 marks, 7 inbox.
ARGV: 1 how many unread letters to count.
Answers: now, cluster, owner, epoch, until, seq, messages, parked, reminders, outbox, unread letters,
marks.
]]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local m = redis.call('HMGET', KEYS[1], 'cluster', 'owner', 'epoch', 'until', 'seq', 'cursor')
local from = '-'
if m[6] and m[6] ~= '' then from = '(' .. m[6] end
local unread = #redis.call('XRANGE', KEYS[7], from, '+', 'COUNT', ARGV[1])
return {string.format('%.0f', now), m[1] or '', m[2] or '', m[3] or '0', m[4] or '0', m[5] or '0',
  redis.call('HLEN', KEYS[2]), redis.call('HLEN', KEYS[3]), redis.call('ZCARD', KEYS[4]),
  redis.call('ZCARD', KEYS[5]), unread, redis.call('HVALS', KEYS[6])}
