/**
 * leases in Redis ─► **commands** ─► scripts: the arguments of the scripts, and the meaning of their answers. Owns that
 * a key is sent only once per command.
 */
import type { StreamLease } from './lease.js'
import type { Quota, RequiredQuotas } from './quotas.js'
import type { LeaseScripts } from './scripts.js'

/** An attempt to acquire a lease: all quotas are taken and the opening is counted, or neither. */
export interface AcquireAttempt extends RequiredQuotas {
  readonly lease: StreamLease
  /**
   * `false` for a stream whose lease has expired: it is older than those that took its quotas, so it must not evict
   * them.
   */
  readonly mayEvict: boolean
}

/** Whether the stream takes anything that others could have. */
export function needsQuota({ quotas, opens }: RequiredQuotas): boolean {
  return quotas.length > 0 || opens !== undefined
}

/** The result of an attempt. */
export interface AcquireResult {
  /** `undefined`: the lease was acquired. */
  readonly refusedBy: Quota | undefined
  readonly retryAfterMs: number | undefined
  /** Streams that were evicted for this one. */
  readonly evicted: readonly string[]
}

/** In ms. */
export interface LeaseTimes {
  readonly leaseMs: number
  /** How long an eviction is kept. 0: nothing is evicted. */
  readonly evictionTtlMs: number
}

/** Keys with evictions must outlive them. All other members expire earlier. */
function keyTtlMs({ leaseMs, evictionTtlMs }: LeaseTimes): number {
  return Math.max(leaseMs, evictionTtlMs)
}

/** @returns the result of each attempt, in their order: each counts the ones before it */
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
  // One argument for each attempt, because the arguments are the main cost of this command (bench `join`).
  const encoded = attempts.map(({ lease, quotas, opens, mayEvict }) => {
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
    ...encoded,
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
  /** Evicted, permanently. */
  readonly evicted: readonly string[]
  /** Their leases have expired, or Redis has lost them. Others may have taken their quotas. */
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

/** The members of each key: first the keys where a lease may be marked as evicted, then the others. */
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
