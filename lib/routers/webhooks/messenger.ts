import {
  entriesOf,
  fields,
  type InboundPart,
  id,
  kindOf,
  list,
  nameOf,
  type Provider,
  partsOf,
  text,
  time,
  timeOfAnyUnit,
  unknownPart,
  unreadParts,
} from './message.js'

type Fields = Readonly<Record<string, unknown>>

/**
 * Messenger Platform, for Pages and for Instagram: events in `entry[].messaging[]`, and in `entry[].changes[].value` of
 * the fields `messages`, `messaging_…` and `message_…`, which Instagram also sends. Another app answers the events
 * under `standby`. Echoes are messages that this account sent. Reactions and postbacks are unsupported.
 * https://developers.facebook.com/docs/messenger-platform/reference/webhook-events/messages
 */
export function parseMessenger(payload: unknown, receivedAt: number): readonly InboundPart[] | undefined {
  return parse('messenger', entriesOf(payload, 'page'), receivedAt)
}

/** https://developers.facebook.com/docs/instagram-platform/webhooks */
export function parseInstagram(payload: unknown, receivedAt: number): readonly InboundPart[] | undefined {
  return parse('instagram', entriesOf(payload, 'instagram'), receivedAt)
}

/** Common to all events of one entry. */
interface Context {
  readonly provider: Provider
  readonly accountId: string | undefined
  readonly receivedAt: number
}

function parse(
  provider: Provider,
  entries: readonly unknown[] | undefined,
  receivedAt: number,
): readonly InboundPart[] | undefined {
  return entries?.flatMap((entry) => {
    const { id: account, messaging, changes, standby } = fields(entry)
    const context: Context = { provider, accountId: id(account), receivedAt }
    const { accountId } = context
    const malformed = (): InboundPart => unknownPart(provider, accountId, 'malformed', 'entry', entry)
    if ((messaging ?? changes ?? standby) === undefined) return [malformed()]
    return [
      ...partsOf(messaging, malformed, (event) => eventParts(context, event, event, ms)),
      ...partsOf(changes, malformed, (change) => changeParts(context, change)),
      ...partsOf(standby, malformed, (event) => [unknownPart(provider, accountId, 'left_out', 'standby', event)]),
      ...unreadParts(fields(entry), ENTRY, (what) => unknownPart(provider, accountId, 'unsupported', what, entry)),
    ]
  })
}

/** The fields of an entry that are read. */
const ENTRY: readonly string[] = ['id', 'time', 'messaging', 'changes', 'standby']

function changeParts(context: Context, change: unknown): readonly InboundPart[] {
  const { provider, accountId } = context
  const { field, value } = fields(change)
  if (typeof field !== 'string') return [unknownPart(provider, accountId, 'malformed', 'change', change)]
  if (/^messag(es$|e_|ing_)/.test(field)) return eventParts(context, value, change, timeOfAnyUnit)
  return [unknownPart(provider, accountId, 'unsupported', nameOf(field), change)]
}

type ReadTime = (value: unknown, fallback: number) => number

function ms(value: unknown, fallback: number): number {
  return time(value, 1, fallback)
}

/** @param raw the object to report if the event is not understood */
function eventParts(context: Context, given: unknown, raw: unknown, readTime: ReadTime): readonly InboundPart[] {
  const { provider, receivedAt } = context
  const event = fields(given)
  const accountId = context.accountId ?? id(fields(event.recipient).id)
  const unknown = (reason: 'malformed' | 'unsupported' | 'left_out', what: string): readonly InboundPart[] => [
    unknownPart(provider, accountId, reason, what, raw),
  ]
  const unreadBeside = (read: string): readonly InboundPart[] =>
    unreadParts(event, [...ENVELOPE, read], (what) => unknownPart(provider, accountId, 'unsupported', what, raw))
  const name = Object.keys(event).find((key) => !ENVELOPE.includes(key) && event[key] !== undefined)
  if (name === undefined || accountId === undefined) return unknown('malformed', 'event')
  const from = id(fields(event.sender).id)
  const at = readTime(event.timestamp, receivedAt)
  if (event.message !== undefined) {
    const message = fields(event.message)
    if (message.is_echo === true) return unknown('left_out', 'echo')
    // An Instagram message that the sender deleted. It has no content.
    if (message.is_deleted === true) return unknown('left_out', 'deleted')
    const messageId = id(message.mid)
    if (messageId === undefined || from === undefined) return unknown('malformed', 'message')
    const words = text(message.text)
    const kind = messageKind(message, words)
    const read = { provider, accountId, messageId, from, text: words ?? `[${kind}]`, kind, at, raw: event.message }
    return [{ message: read }, ...unreadBeside('message')]
  }
  const reported = reportedMessages(event, readTime)
  if (reported === undefined) return unknown('unsupported', nameOf(name))
  if (reported.length === 0) return unknown('malformed', nameOf(name))
  const status = event.delivery === undefined ? 'read' : 'delivered'
  const statuses = reported.map((which) => ({
    status: { provider, accountId, ...which, ...(from !== undefined && { to: from }), status, at, raw: given },
  }))
  return [...statuses, ...unreadBeside(event.delivery === undefined ? 'read' : 'delivery')]
}

/** Members that every kind of event has. */
const ENVELOPE: readonly string[] = ['sender', 'recipient', 'timestamp', 'app_id']

/** Returns the messages that an event reports as delivered or read, and `undefined` if it reports neither. */
function reportedMessages(
  { delivery, read }: Fields,
  readTime: ReadTime,
): readonly { readonly messageId?: string; readonly upTo?: number }[] | undefined {
  if (delivery === undefined && read === undefined) return undefined
  const { mids, mid, watermark } = fields(delivery ?? read)
  const messageIds = [...list(mids), mid].map(id).filter((each) => each !== undefined)
  if (messageIds.length > 0) return messageIds.map((messageId) => ({ messageId }))
  const upTo = readTime(watermark, 0)
  return upTo === 0 ? [] : [{ upTo }]
}

function messageKind(message: Fields, words: string | undefined): string {
  if (message.is_unsupported === true) return 'unsupported'
  const [attachment] = list(message.attachments)
  const kind = kindOf(fields(attachment).type)
  // A `fallback` beside text is the preview of a link in the text.
  if (words !== undefined && (attachment === undefined || kind === 'fallback')) return 'text'
  return kind
}
