/**
 * The atomic steps on leases in Redis, on Redis's clock:
 *
 *   <prefix>{streams}:user:…, tenant:…, ip:…   sorted set: a member for each stream, with a score
 *   <prefix>{streams}:opens:…                  when the owner's next opening would be due at the configured rate
 *
 * ```
 *   score   -(until)  evicted: kept for its process to find     member   <opened at, ms since 1970>:<stream id>
 *           0 … now   expired: the next command removes it
 *           > now     open, and valid until then
 * ```
 *
 * The keys of one command belong to different owners, and all or none must be taken. So all keys of a prefix have one
 * hash tag: in a Redis Cluster they are in one slot, and one shard serves all leases.
 */
import type { RedisClient } from '../../redis/connect.js'
import { REPAIRING_CALL } from '../repair.js'

const NOW = `${REPAIRING_CALL}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

/**
 * Several attempts, one after the other: each takes all quotas that it needs, or none. KEYS those of all attempts, each
 * once · ARGV 1 duration of a lease in ms, 2 TTL of the keys, 3 how long an eviction is kept, then the cap of each key
 * (openings: per minute), then each attempt: 1 if the oldest stream of its first quota may be evicted, the number of
 * the key of its openings or 0, the numbers of the keys of its quotas, and after a bar its member.
 * Returns for each attempt {0, evicted members …}, or {number of the key that refuses, ms until it would admit or 0}.
 */
const ACQUIRE = `${NOW}
local good, evictedUntil = now + ARGV[1], now + ARGV[3]
local function capOf(key) return tonumber(ARGV[3 + key]) end

local counts = {}
local function openUnder(key)
  if not counts[key] then
    call('ZREMRANGEBYSCORE', KEYS[key], -now, now)
    counts[key] = redis.call('ZCOUNT', KEYS[key], 0, '+inf')
  end
  return counts[key]
end

local function take(member, evicts, opens, quotas)
  local gap, due
  if opens > 0 then
    gap = 60000 / capOf(opens)
    -- At most an hour away, whatever another program has written there.
    due = math.max(now, math.min(now + 3600000, tonumber(call('GET', KEYS[opens])) or 0))
    local wait = due + gap - 60000 - now
    if wait >= 1 then return {opens, math.ceil(wait)} end
  end
  local victims = {}
  for i, key in ipairs(quotas) do
    local over = openUnder(key) + 1 - capOf(key)
    for _, victim in ipairs(victims) do
      if redis.call('ZSCORE', KEYS[key], victim) then over = over - 1 end
    end
    if over > 0 then
      if i > 1 or not evicts then return {key, 0} end
      local members = redis.call('ZRANGEBYSCORE', KEYS[key], 0, '+inf')
      table.sort(members)
      for age = 1, over do victims[age] = members[age] end
    end
  end
  for _, victim in ipairs(victims) do
    for _, key in ipairs(quotas) do counts[key] = counts[key] - redis.call('ZREM', KEYS[key], victim) end
    redis.call('ZADD', KEYS[quotas[1]], -evictedUntil, victim)
  end
  for _, key in ipairs(quotas) do
    counts[key] = counts[key] + redis.call('ZADD', KEYS[key], good, member)
    redis.call('PEXPIRE', KEYS[key], ARGV[2])
  end
  if opens > 0 then
    redis.call('SET', KEYS[opens], string.format('%.3f', due + gap), 'PX', math.ceil(due + gap - now))
  end
  return {0, unpack(victims)}
end

local answers = {}
for at = 4 + #KEYS, #ARGV do
  local evicts, opens, rest, member = string.match(ARGV[at], '^(%d) (%d+)([%d ]*)|(.*)$')
  local quotas = {}
  for number in string.gmatch(rest, '%d+') do quotas[#quotas + 1] = tonumber(number) end
  answers[#answers + 1] = take(member, evicts == '1', tonumber(opens), quotas)
end
return answers
`

/**
 * Renews members, unless they were evicted or have expired: an expired lease must be acquired again. KEYS · ARGV 1
 * duration of a lease in ms, 2 TTL of the keys, 3 the number of KEYS, from the first, where members may be marked as
 * evicted, then for each key the number of its members, and the members.
 * Returns the evicted and the expired members.
 */
const RENEW = `${NOW}
local evicted, gone, lost, at = {}, {}, {}, 4
local function lose(list, member)
  if lost[member] then return end
  lost[member] = true
  list[#list + 1] = member
end
for i, key in ipairs(KEYS) do
  local last = at + tonumber(ARGV[at])
  local scores = call('ZMSCORE', key, unpack(ARGV, at + 1, last))
  for j = at + 1, last do
    -- Neither a number nor nil where there is none.
    local score = tonumber(scores[j - at] or nil)
    if score and score < 0 and i <= tonumber(ARGV[3]) then lose(evicted, ARGV[j])
    elseif not score or score <= now then lose(gone, ARGV[j]) end
  end
  at = last + 1
end
at = 4
for _, key in ipairs(KEYS) do
  local last, renewed = at + tonumber(ARGV[at]), {}
  for j = at + 1, last do
    if not lost[ARGV[j]] then
      renewed[#renewed + 1] = now + ARGV[1]
      renewed[#renewed + 1] = ARGV[j]
    end
  end
  if #renewed > 0 then
    redis.call('ZADD', key, unpack(renewed))
    redis.call('PEXPIRE', key, ARGV[2])
  end
  at = last + 1
end
return {evicted, gone}
`

/** Releases leases. KEYS · ARGV for each key the number of its members, and the members. */
const RELEASE = `${REPAIRING_CALL}
local at = 1
for _, key in ipairs(KEYS) do
  local last = at + tonumber(ARGV[at])
  call('ZREM', key, unpack(ARGV, at + 1, last))
  at = last + 1
end
`

type Arg = string | number

/** Of one attempt. `refusedBy` counts from 1; 0: the lease was acquired. */
type AcquireAnswer = readonly [refusedBy: number, ...rest: (string | number)[]]

export interface LeaseScripts {
  sseAcquireLeases(keys: number, ...args: Arg[]): Promise<readonly AcquireAnswer[]>
  sseRenewLeases(keys: number, ...args: Arg[]): Promise<readonly [evicted: readonly string[], gone: readonly string[]]>
  sseReleaseLeases(keys: number, ...args: Arg[]): Promise<null>
}

/** Adds the scripts to a connection. They are sent by hash, and in full if Redis does not know them. */
export function withLeaseScripts(client: RedisClient): RedisClient & LeaseScripts {
  client.defineCommand('sseAcquireLeases', { lua: ACQUIRE })
  client.defineCommand('sseRenewLeases', { lua: RENEW })
  client.defineCommand('sseReleaseLeases', { lua: RELEASE })
  return client as RedisClient & LeaseScripts
}
