/** Times in the reader's zone and language. */
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: 'short' })
const DATE = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })
const LONG_DATE = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' })

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/** The age in short form, for the list. */
export function shortAge(at: string, now: number): string {
  const then = Date.parse(at)
  if (Number.isNaN(then)) return ''
  const ageMs = now - then
  if (ageMs < MINUTE_MS) return 'now'
  if (ageMs < HOUR_MS) return `${Math.floor(ageMs / MINUTE_MS)} min`
  const days = daysBetween(then, now)
  if (days === 0) return CLOCK.format(then)
  if (days < 7) return days === 1 ? 'Yesterday' : WEEKDAY.format(then)
  return DATE.format(then)
}

export function clockTime(at: string): string {
  return CLOCK.format(Date.parse(at))
}

/** The heading above the messages of a day. */
export function dayName(at: string, now: number): string {
  const days = daysBetween(Date.parse(at), now)
  if (days === 0) return 'Today'
  return days === 1 ? 'Yesterday' : LONG_DATE.format(Date.parse(at))
}

/** Calendar days, not periods of 24 hours. */
function daysBetween(then: number, now: number): number {
  return Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / (24 * HOUR_MS))
}
