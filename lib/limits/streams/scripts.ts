/**
 * The atomic steps on leases in Redis, by Redis's clock:
 *
 *   <prefix>streams:user:…, tenant:…, ip:…   sorted set: a member for each stream, with a score
 *   <prefix>streams:opens:…                  when the owner's next opening would be due if it had kept to the rate
 *
 * ```
 *   score   -(until)  evicted: kept for its process to see     member   <opened at, ms since 1970>:<stream id>
 *           0 … now   has run out: whoever comes next removes it
 *           > now     open, and good until then
 * ```
 *
 * The keys of one call are those of different owners, so they lie in different slots: Redis Cluster would need one hash tag
 * for all of them, or a call for each with a way back. The kit does not support Cluster yet.
 */
import type { RedisClient } from '../../redis/connect.js'

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

/**
 * Takes a place under every key, or none. KEYS one for each place, then the openings' if they are limited · ARGV 1 member,
 * 2 lease in ms, 3 TTL of the keys, 4 whether the oldest under KEYS[1] may be evicted, 5 for how long that is then
 * kept there, 6 openings a minute or 0, then the cap of each place.
 * Returns {0, members evicted …}, or {number of the key that refuses, ms until it would not or 0}.
 */
const TAKE = `${NOW}
local member, places, opens = ARGV[1], #ARGV - 6, tonumber(ARGV[6])
local gap, due = 60000 / math.max(1, opens), now
if opens > 0 then
  due = math.max(now, tonumber(redis.call('GET', KEYS[places + 1]) or 0))
  local wait = due + gap - 60000 - now
  if wait >= 1 then return {places + 1, math.ceil(wait)} end
end
local victims = {}
for i = 1, places do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], -now, now)
  local over = redis.call('ZCOUNT', KEYS[i], 0, '+inf') + 1 - tonumber(ARGV[6 + i])
  for _, victim in ipairs(victims) do
    if redis.call('ZSCORE', KEYS[i], victim) then over = over - 1 end
  end
  if over > 0 then
    if i > 1 or ARGV[4] ~= '1' then return {i, 0} end
    local members = redis.call('ZRANGEBYSCORE', KEYS[1], 0, '+inf')
    table.sort(members)
    for age = 1, over do victims[age] = members[age] end
  end
end
for _, victim in ipairs(victims) do
  for i = 1, places do redis.call('ZREM', KEYS[i], victim) end
  redis.call('ZADD', KEYS[1], -(now + ARGV[5]), victim)
end
for i = 1, places do
  redis.call('ZADD', KEYS[i], now + ARGV[2], member)
  redis.call('PEXPIRE', KEYS[i], ARGV[3])
end
if opens > 0 then
  redis.call('SET', KEYS[places + 1], string.format('%.3f', due + gap), 'PX', math.ceil(due + gap - now))
end
return {0, unpack(victims)}
`

/**
 * Puts members in, or renews them, unless they were evicted. KEYS · ARGV 1 lease in ms, 2 TTL of the keys, 3 under how many
 * of KEYS, the first, members may be marked as evicted, then for each key how many members, and those.
 * Returns the evicted ones.
 */
const RENEW = `${NOW}
local evicted, isEvicted, at = {}, {}, 4
for i, key in ipairs(KEYS) do
  local last, renewed = at + tonumber(ARGV[at]), {}
  for j = at + 1, last do
    local member = ARGV[j]
    if i <= tonumber(ARGV[3]) then
      local score = redis.call('ZSCORE', key, member)
      if score and tonumber(score) < 0 then
        evicted[#evicted + 1] = member
        isEvicted[member] = true
      end
    end
    if not isEvicted[member] then
      renewed[#renewed + 1] = now + ARGV[1]
      renewed[#renewed + 1] = member
    end
  end
  if #renewed > 0 then
    redis.call('ZADD', key, unpack(renewed))
    redis.call('PEXPIRE', key, ARGV[2])
  end
  at = last + 1
end
return evicted
`

/** Gives places back. KEYS · ARGV for each key how many members, and those. */
const GIVE_BACK = `
local at = 1
for _, key in ipairs(KEYS) do
  local last = at + tonumber(ARGV[at])
  redis.call('ZREM', key, unpack(ARGV, at + 1, last))
  at = last + 1
end
`

type Arg = string | number

export interface LeaseScripts {
  sseTakePlaces(keys: number, ...args: Arg[]): Promise<readonly [refusedBy: number, ...rest: (string | number)[]]>
  sseRenewPlaces(keys: number, ...args: Arg[]): Promise<readonly string[]>
  sseGiveBackPlaces(keys: number, ...args: Arg[]): Promise<null>
}

/** Adds the scripts to a connection: sent by hash, and once in full where Redis does not know them (any more). */
export function withLeaseScripts(client: RedisClient): RedisClient & LeaseScripts {
  client.defineCommand('sseTakePlaces', { lua: TAKE })
  client.defineCommand('sseRenewPlaces', { lua: RENEW })
  client.defineCommand('sseGiveBackPlaces', { lua: GIVE_BACK })
  return client as RedisClient & LeaseScripts
}
