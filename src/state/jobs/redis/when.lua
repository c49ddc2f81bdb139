-- Commands that all run if the first one answers what is expected; otherwise none of the others does.
-- KEYS: all keys that the commands use. ARGV: what is expected, then each command as the number of its words and the words.
-- Answers 1 and nothing, or 0 and what the first one answered: a text, a number, or the length of a list.
local at = 2
local function run()
  local first, last = at + 1, at + tonumber(ARGV[at])
  at = last + 1
  return redis.call(unpack(ARGV, first, last))
end
local said = run()
if type(said) == 'table' then said = #said end
said = tostring(said or '')
if said ~= ARGV[1] then return { 0, said } end
while at <= #ARGV do run() end
return { 1, '' }
