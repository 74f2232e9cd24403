/**
 * payload ─► **parts** ─► onMessage, onStatus, onUnknown. Owns what the payloads of the three providers have in common,
 * and the functions that read values of untrusted form. Every part of a payload becomes a message, a status or an
 * unknown part, so that nothing is lost silently. Pure; must not know HTTP or stores.
 */

/** A provider whose webhooks the kit reads. */
export type Provider = 'whatsapp' | 'messenger' | 'instagram'

export const PROVIDERS: readonly Provider[] = ['whatsapp', 'messenger', 'instagram']

/** A message that a customer sent. The form is the same for all providers. */
export interface InboundMessage {
  /** The provider that delivered it. */
  readonly provider: Provider
  /** Your account that received it: the WhatsApp phone number id, the Page id, or the Instagram account id. */
  readonly accountId: string
  /** The provider's id of the message, unique within the provider. */
  readonly messageId: string
  /**
   * The sender: a WhatsApp number (`wa_id`), or an id that is valid for your account only. WhatsApp uses such an id for
   * users without a visible number (`from_user_id`).
   */
  readonly from: string
  /**
   * The WhatsApp user id of the sender, if the payload has it. It stays the same when the number appears, changes or is
   * hidden.
   */
  readonly fromUserId?: string
  /** The display name of the sender, if the payload has it. */
  readonly fromName?: string
  /** The text; for other kinds the caption, or a placeholder such as `[image]`. Well-formed Unicode, never empty. */
  readonly text: string
  /** The provider's name for the kind of message: `text`, `image`, `interactive` … */
  readonly kind: string
  /** When it was sent, in ms since 1970. If the payload has no time: when the delivery arrived. */
  readonly at: number
  /** The provider's message object, unchanged. */
  readonly raw: unknown
}

/** The status of a message that you sent. */
export interface InboundStatus {
  /** The provider that delivered it. */
  readonly provider: Provider
  /** Your account that sent the message; as in `InboundMessage`. */
  readonly accountId: string
  /** The provider's id of your message. Absent if the provider reports a time only: see `upTo`. */
  readonly messageId?: string
  /** All messages to this customer until this time have the status. In ms since 1970. */
  readonly upTo?: number
  /** The customer; as `from` of `InboundMessage`. */
  readonly to?: string
  /** The provider's name for the status: `sent`, `delivered`, `read`, `failed` … */
  readonly status: string
  /** When the status was reached, in ms since 1970. If the payload has no time: when the delivery arrived. */
  readonly at: number
  /** The provider's object, unchanged. It has the errors of a message that failed. */
  readonly raw: unknown
}

/** A part of a delivery that is neither a message nor a status. */
export interface InboundUnknown {
  /** The provider that delivered it. */
  readonly provider: Provider
  /** Your account, if it is known. */
  readonly accountId?: string
  /**
   * - `unsupported`: a field or an event that the kit does not read (a postback, the status of a template).
   * - `malformed`: not of the documented form.
   * - `left_out`: understood, but not a message to you (an `echo` of your own message, a message for another app in
   *   `standby`, a message that was `deleted`).
   */
  readonly reason: 'unsupported' | 'malformed' | 'left_out'
  /**
   * The provider's name for it, or the name of the malformed part: `postback`, `echo`,
   * `message_template_status_update`, `entry` …
   */
  readonly what: string
  /** The provider's object, unchanged. */
  readonly raw: unknown
}

export type InboundPart =
  | { readonly message: InboundMessage; readonly status?: never; readonly unknown?: never }
  | { readonly status: InboundStatus; readonly message?: never; readonly unknown?: never }
  | { readonly unknown: InboundUnknown; readonly message?: never; readonly status?: never }

/** Returns `undefined` for a payload that is not of the documented form, and an empty list for an empty payload. */
export type PayloadParser = (payload: unknown, receivedAt: number) => readonly InboundPart[] | undefined

const MAX_ID_LENGTH = 512
/** The latest time that a Date can represent. */
const MAX_TIME_MS = 8.64e15

/** Returns the fields of an object, and no fields for any other value. */
export function fields(value: unknown): Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** Returns well-formed text: JSON may hold half a surrogate pair, which other systems refuse. */
export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.toWellFormed() : undefined
}

/** Returns an id. Ids are compared exactly, so a malformed id is not repaired: it counts as absent. */
export function id(value: unknown): string | undefined {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value)
  const valid = typeof value === 'string' && value !== '' && value.length <= MAX_ID_LENGTH && value.isWellFormed()
  return valid ? value : undefined
}

/** Returns the provider's name for a kind of message if it has the form of such a name. */
export function kindOf(value: unknown): string {
  return typeof value === 'string' && /^[a-z_]{1,32}$/.test(value) ? value : 'unknown'
}

/** Returns the provider's name for a field, an event or a status if it has the form of such a name. */
export function nameOf(value: unknown): string {
  return typeof value === 'string' && /^[a-z0-9_]{1,64}$/.test(value) ? value : 'unknown'
}

/** Converts a number, or a string of digits, in units of `unitMs` to ms since 1970. */
export function time(value: unknown, unitMs: number, fallback: number): number {
  const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number') return fallback
  const ms = number * unitMs
  return ms > 0 && ms <= MAX_TIME_MS ? Math.round(ms) : fallback
}

/** Smaller numbers are seconds, others ms: this number is the year 5138 in seconds, and the year 1973 in ms. */
const SECONDS_BELOW = 1e11

/** Like `time`, for fields in which a provider writes either seconds or ms. */
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

/**
 * Returns the parts of each element of a list. `undefined` counts as an empty list, and any other value as malformed.
 */
export function partsOf(
  value: unknown,
  malformed: () => InboundPart,
  partsOfEach: (each: unknown) => readonly InboundPart[],
): readonly InboundPart[] {
  if (value === undefined) return []
  return Array.isArray(value) ? value.flatMap(partsOfEach) : [malformed()]
}

/**
 * Returns the parts of an object that the kit does not read: lists and objects under other names than `known`.
 * Providers add new parts beside the existing ones.
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

/** Returns the entries of a payload about `object`, and `undefined` for any other value. */
export function entriesOf(payload: unknown, object: string): readonly unknown[] | undefined {
  const { object: actual, entry } = fields(payload)
  return actual === object && Array.isArray(entry) ? entry : undefined
}
