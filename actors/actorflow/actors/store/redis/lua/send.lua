--[[ Append letters to an inbox, in order. Also when memory is out: what ends must be heard of.

KEYS: 1 inbox. ARGV: 1 about how many letters it may hold, then the letters.
]]
for i = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'd', ARGV[i])
end
return #ARGV - 1
