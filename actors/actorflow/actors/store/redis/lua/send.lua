--[[ Append letters to inboxes, in order. Also when memory is out: what ends must be heard of.

KEYS: the inboxes. ARGV: 1 about how many letters an inbox may hold, then for each letter the number
of its inbox among the keys, and the letter. An inbox that takes no letters does not hold up the
rest. The answer is how many letters were taken, and the last error of an inbox, or "".
]]
local taken, failed = 0, ''
for i = 2, #ARGV, 2 do
  local inbox = KEYS[tonumber(ARGV[i])]
  local reply = redis.pcall('XADD', inbox, 'MAXLEN', '~', ARGV[1], '*', 'd', ARGV[i + 1])
  if type(reply) == 'table' and reply.err then failed = reply.err else taken = taken + 1 end
end
return {taken, failed}
