/**
 * leases in Redis ─► **calls** ─► scripts: what is said to the scripts, and what their answers mean. Owns that each key is said once.
 */
import type { StreamLease } from './lease.js'
import type { Quota, RequiredQuotas } from './quotas.js'
import type { LeaseScripts } from './scripts.js'

/** To take all quotas and have the opening counted, or neither. */
export interface AcquireAttempt extends RequiredQuotas {
  readonly lease: StreamLease
  /** A stream whose lease has run out is older than those that took its quotas: it evicts none of them. */
  readonly mayEvict: boolean
}

/** Whether it takes anything up that others could have. */
export function needsQuota({ quotas, opens }: RequiredQuotas): boolean {
  return quotas.length > 0 || opens !== undefined
}

/** What became of an attempt. */
export interface AcquireResult {
  /** `undefined`: all are taken. */
  readonly refusedBy: Quota | undefined
  readonly retryAfterMs: number | undefined
  /** Streams that lost their quota to this one. */
  readonly evicted: readonly string[]
}

/** In ms. */
export interface LeaseTimes {
  readonly leaseMs: number
  /** How long an eviction is kept; 0: nobody is evicted. */
  readonly evictionTtlMs: number
}

/** Keys with evictions must outlive them. All other members are gone long before. */
function keyTtlMs({ leaseMs, evictionTtlMs }: LeaseTimes): number {
  return Math.max(leaseMs, evictionTtlMs)
}

/** @returns what became of each attempt, in their order: each counts those before it */
export async function acquireLeases(
  client: LeaseScripts,
  attempts: readonly AcquireAttempt[],
  times: LeaseTimes,
): Promise<readonly AcquireResult[]> {
  const all: Quota[] = []
  const numbers = new Map<string, number>()
  const numberOf = (quota: Quota): number => {
    const number = numbers.get(quota.key) ?? all.push(quota)
    numbers.set(quota.key, number)
    return number
  }
  // One argument each: arguments are what a call costs here (bench `join`).
  const said = attempts.map(({ lease, quotas, opens, mayEvict }) => {
    let numbers = mayEvict && times.evictionTtlMs > 0 && quotas[0]?.scope === 'user' ? '1' : '0'
    numbers += ` ${opens === undefined ? 0 : numberOf(opens)}`
    for (const quota of quotas) numbers += ` ${numberOf(quota)}`
    return `${numbers}|${memberOf(lease)}`
  })
  const answers = await client.sseAcquireLeases(
    all.length,
    ...all.map(({ key }) => key),
    times.leaseMs,
    keyTtlMs(times),
    times.evictionTtlMs,
    ...all.map(({ cap }) => cap),
    ...said,
  )
  return answers.map(([number, ...rest]) => {
    const refusedBy = all[number - 1]
    return refusedBy === undefined
      ? { refusedBy, retryAfterMs: undefined, evicted: rest.map((member) => idOf(String(member))) }
      : { refusedBy, retryAfterMs: Number(rest[0]) || undefined, evicted: [] }
  })
}

/** Streams whose leases could not be renewed. */
export interface LostLeases {
  /** They stay so. */
  readonly evicted: readonly string[]
  /** Their leases have run out, or Redis has lost them: others may have their quotas. */
  readonly expired: readonly string[]
}

export async function renewLeases(
  client: LeaseScripts,
  leases: readonly StreamLease[],
  times: LeaseTimes,
): Promise<LostLeases> {
  const [marking, others] = membersByKey(leases)
  const [evicted, gone] = await client.sseRenewLeases(
    marking.size + others.size,
    ...marking.keys(),
    ...others.keys(),
    times.leaseMs,
    keyTtlMs(times),
    marking.size,
    ...countedMembers(marking),
    ...countedMembers(others),
  )
  return { evicted: evicted.map(idOf), expired: gone.map(idOf) }
}

export async function releaseLeases(client: LeaseScripts, leases: readonly StreamLease[]): Promise<void> {
  const [marking, others] = membersByKey(leases)
  await client.sseReleaseLeases(
    marking.size + others.size,
    ...marking.keys(),
    ...others.keys(),
    ...countedMembers(marking),
    ...countedMembers(others),
  )
}

function memberOf({ openedAt, id }: StreamLease): string {
  return `${openedAt}:${id}`
}

function idOf(member: string): string {
  return member.slice(member.indexOf(':') + 1)
}

type Members = ReadonlyMap<string, readonly string[]>

/** What is to be said of each key: first of those where a lease may be marked as evicted, then of the others. */
function membersByKey(leases: readonly StreamLease[]): readonly [marking: Members, others: Members] {
  const marking = new Map<string, string[]>()
  const others = new Map<string, string[]>()
  for (const lease of leases) {
    const member = memberOf(lease)
    lease.quotas.forEach(({ key }, index) => {
      const members = index === 0 ? marking : others
      const known = members.get(key)
      if (known === undefined) members.set(key, [member])
      else known.push(member)
    })
  }
  return [marking, others]
}

function countedMembers(members: Members): (string | number)[] {
  return [...members.values()].flatMap((each) => [each.length, ...each])
}
