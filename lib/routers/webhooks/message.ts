/**
 * payload ─► **parts** ─► onMessage, onStatus, onUnknown: what the three providers' payloads have in common, and how they are
 * read without trust in their form. Every part of a payload becomes one of the three, so nothing is left out without a trace.
 * Pure; knows neither HTTP nor stores.
 */

export const PROVIDERS = ['whatsapp', 'messenger', 'instagram'] as const
export type Provider = (typeof PROVIDERS)[number]

/** A message that a customer sent, whatever the provider. */
export interface InboundMessage {
  /** The provider that delivered it. */
  readonly provider: Provider
  /** Which of your accounts it was sent to: WhatsApp's phone number id, the Page's id, the Instagram account's id. */
  readonly accountId: string
  /** The provider's id, unique within the provider. */
  readonly messageId: string
  /**
   * The sender: a WhatsApp number (`wa_id`), or an id that is valid for your account alone, as WhatsApp gives it for users
   * without a visible number (`from_user_id`).
   */
  readonly from: string
  /** WhatsApp's user id of the sender, where the provider gives it: it stays when the number appears, changes or is hidden. */
  readonly fromUserId?: string
  /** The name the sender goes by, where the provider tells. */
  readonly fromName?: string
  /** What was written; for other kinds the caption or a placeholder such as `[image]`. Well-formed, never empty. */
  readonly text: string
  /** The provider's word for what it is: `text`, `image`, `interactive` … */
  readonly kind: string
  /** When it was sent, in ms since 1970; when it came in, where the provider does not tell. */
  readonly at: number
  /** The provider's message object, as it came. */
  readonly raw: unknown
}

/** What became of a message that you sent. */
export interface InboundStatus {
  /** The provider that delivered it. */
  readonly provider: Provider
  /** Which of your accounts sent the message; as in `InboundMessage`. */
  readonly accountId: string
  /** The provider's id of your message. Absent where the provider names a time only: `upTo`. */
  readonly messageId?: string
  /** All messages to this customer up to this time have the status. In ms since 1970. */
  readonly upTo?: number
  /** The customer: as `from` of a message. */
  readonly to?: string
  /** The provider's word: `sent`, `delivered`, `read`, `failed` … */
  readonly status: string
  /** When, in ms since 1970; when the report came in, where the provider does not tell. */
  readonly at: number
  /** The provider's object, as it came; it has the errors of a message that failed. */
  readonly raw: unknown
}

/** A part of a delivery that is neither a message nor a status. */
export interface InboundUnknown {
  /** The provider that delivered it. */
  readonly provider: Provider
  /** Where it is known. */
  readonly accountId?: string
  /**
   * `unsupported`: a field or an event that the kit does not read (a postback, a template's status). `malformed`: not of the documented
   * form. `left_out`: read, and no message to you (an `echo` of your own, one for another app in `standby`, one that was
   * `deleted`).
   */
  readonly reason: 'unsupported' | 'malformed' | 'left_out'
  /** The provider's name for it, or which part is malformed: `postback`, `echo`, `message_template_status_update`, `entry` … */
  readonly what: string
  /** As it came. */
  readonly raw: unknown
}

export type InboundPart =
  | { readonly message: InboundMessage; readonly status?: never; readonly unknown?: never }
  | { readonly status: InboundStatus; readonly message?: never; readonly unknown?: never }
  | { readonly unknown: InboundUnknown; readonly message?: never; readonly status?: never }

/** `undefined`: not the documented form. An empty list: nothing is in it. */
export type PayloadParser = (payload: unknown, receivedAt: number) => readonly InboundPart[] | undefined

const MAX_ID_LENGTH = 512
/** The furthest time a Date can hold. */
const MAX_TIME = 8.64e15

/** The value's fields; none if it is no object. */
export function fields(value: unknown): Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** Text that can be stored and sent on: JSON may hold half a surrogate pair. */
export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.toWellFormed() : undefined
}

/** An id, which must be exact: one that would have to be mended is none. */
export function id(value: unknown): string | undefined {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value)
  const valid = typeof value === 'string' && value !== '' && value.length <= MAX_ID_LENGTH && value.isWellFormed()
  return valid ? value : undefined
}

/** The provider's word for a kind of message, if it looks like one. */
export function kindOf(value: unknown): string {
  return typeof value === 'string' && /^[a-z_]{1,32}$/.test(value) ? value : 'unknown'
}

/** A provider's name for a field or an event, if it looks like one. */
export function nameOf(value: unknown): string {
  return typeof value === 'string' && /^[a-z0-9_]{1,64}$/.test(value) ? value : 'unknown'
}

/** Ms since 1970 from a number or its digits, in units of `unitMs`. */
export function time(value: unknown, unitMs: number, fallback: number): number {
  const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number') return fallback
  const ms = number * unitMs
  return ms > 0 && ms <= MAX_TIME ? Math.round(ms) : fallback
}

/** Seconds before this, ms from it on: it is the year 5138 in seconds, and 1973 in ms. */
const SECONDS_BELOW = 1e11

/** As `time`, for where a provider writes now seconds, now ms. */
export function timeOfAnyUnit(value: unknown, fallback: number): number {
  const ms = time(value, 1, fallback)
  return ms < SECONDS_BELOW ? ms * 1000 : ms
}

export function unknownPart(
  provider: Provider,
  accountId: string | undefined,
  reason: InboundUnknown['reason'],
  what: string,
  raw: unknown,
): InboundPart {
  return { unknown: { provider, ...(accountId !== undefined && { accountId }), reason, what, raw } }
}

/** The parts of each element of a list; the owner of anything but a list is malformed. `undefined` is an empty list. */
export function partsOf(
  value: unknown,
  malformed: () => InboundPart,
  partsOfEach: (each: unknown) => readonly InboundPart[],
): readonly InboundPart[] {
  if (value === undefined) return []
  return Array.isArray(value) ? value.flatMap(partsOfEach) : [malformed()]
}

/**
 * The parts of an object that nobody reads: lists and objects under other names than `known`. Providers add such beside what they
 * had before.
 */
export function unreadParts(
  object: Readonly<Record<string, unknown>>,
  known: readonly string[],
  unread: (what: string) => InboundPart,
): readonly InboundPart[] {
  return Object.keys(object)
    .filter((name) => !known.includes(name) && isPart(object[name]))
    .map((name) => unread(nameOf(name)))
}

function isPart(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== null && typeof value === 'object'
}

/** The entries of a payload about `object`; `undefined` if it is another or no payload. */
export function entriesOf(payload: unknown, object: string): readonly unknown[] | undefined {
  const { object: actual, entry } = fields(payload)
  return actual === object && Array.isArray(entry) ? entry : undefined
}
