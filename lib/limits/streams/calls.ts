/**
 * leases in Redis ─► **calls** ─► scripts: what is said to the scripts, and what their answers mean. Owns that each key is said once.
 */
import type { Lease } from './lease.js'
import type { Demand, Place } from './places.js'
import type { LeaseScripts } from './scripts.js'

/** To take all places and have the opening counted, or neither. */
export interface Attempt extends Demand {
  readonly lease: Lease
  /** A stream whose lease has run out is older than those that took its places: it evicts none of them. */
  readonly mayEvict: boolean
}

/** Whether it takes anything up that others could have. */
export function isCounted({ places, opens }: Demand): boolean {
  return places.length > 0 || opens !== undefined
}

/** What became of an attempt. */
export interface Taken {
  /** `undefined`: all are taken. */
  readonly refusedBy: Place | undefined
  readonly retryAfterMs: number | undefined
  /** Streams that lost their place to this one. */
  readonly evicted: readonly string[]
}

/** In ms. */
export interface Times {
  readonly leaseMs: number
  /** How long an eviction is kept; 0: nobody is evicted. */
  readonly evictionTtlMs: number
}

/** Keys with evictions must outlive them. All other members are gone long before. */
function keyTtlMs({ leaseMs, evictionTtlMs }: Times): number {
  return Math.max(leaseMs, evictionTtlMs)
}

/** @returns what became of each attempt, in their order: each counts those before it */
export async function takePlaces(
  client: LeaseScripts,
  attempts: readonly Attempt[],
  times: Times,
): Promise<readonly Taken[]> {
  const all: Place[] = []
  const numbers = new Map<string, number>()
  const numberOf = (place: Place): number => {
    const number = numbers.get(place.key) ?? all.push(place)
    numbers.set(place.key, number)
    return number
  }
  // One argument each: arguments are what a call costs here (bench `join`).
  const said = attempts.map(({ lease, places, opens, mayEvict }) => {
    let numbers = mayEvict && times.evictionTtlMs > 0 && places[0]?.scope === 'user' ? '1' : '0'
    numbers += ` ${opens === undefined ? 0 : numberOf(opens)}`
    for (const place of places) numbers += ` ${numberOf(place)}`
    return `${numbers}|${memberOf(lease)}`
  })
  const answers = await client.sseTakePlaces(
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
export interface Lost {
  /** They stay so. */
  readonly evicted: readonly string[]
  /** Their leases have run out, or Redis has lost them: others may have their places. */
  readonly gone: readonly string[]
}

export async function renewPlaces(client: LeaseScripts, leases: readonly Lease[], times: Times): Promise<Lost> {
  const [marking, others] = membersByKey(leases)
  const [evicted, gone] = await client.sseRenewPlaces(
    marking.size + others.size,
    ...marking.keys(),
    ...others.keys(),
    times.leaseMs,
    keyTtlMs(times),
    marking.size,
    ...countedMembers(marking),
    ...countedMembers(others),
  )
  return { evicted: evicted.map(idOf), gone: gone.map(idOf) }
}

export async function giveBackPlaces(client: LeaseScripts, leases: readonly Lease[]): Promise<void> {
  const [marking, others] = membersByKey(leases)
  await client.sseGiveBackPlaces(
    marking.size + others.size,
    ...marking.keys(),
    ...others.keys(),
    ...countedMembers(marking),
    ...countedMembers(others),
  )
}

function memberOf({ openedAt, id }: Lease): string {
  return `${openedAt}:${id}`
}

function idOf(member: string): string {
  return member.slice(member.indexOf(':') + 1)
}

type Members = ReadonlyMap<string, readonly string[]>

/** What is to be said of each key: first of those where a lease may be marked as evicted, then of the others. */
function membersByKey(leases: readonly Lease[]): readonly [marking: Members, others: Members] {
  const marking = new Map<string, string[]>()
  const others = new Map<string, string[]>()
  for (const lease of leases) {
    const member = memberOf(lease)
    lease.places.forEach(({ key }, index) => {
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
