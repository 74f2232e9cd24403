import {
  entriesOf,
  fields,
  type InboundPart,
  id,
  kindOf,
  list,
  nameOf,
  partsOf,
  text,
  time,
  unknownPart,
  unreadParts,
} from './message.js'

type Fields = Readonly<Record<string, unknown>>

/**
 * WhatsApp Cloud API, webhook field `messages`: `entry[].changes[].value`, with `messages[]`, `statuses[]` and
 * `errors[]`. All other fields are unsupported.
 * https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples
 */
export function parseWhatsApp(payload: unknown, receivedAt: number): readonly InboundPart[] | undefined {
  return entriesOf(payload, 'whatsapp_business_account')?.flatMap((entry) => {
    const { changes } = fields(entry)
    if (!Array.isArray(changes)) return [unknown('malformed', 'entry', entry)]
    return [
      ...changes.flatMap((change) => changeParts(change, receivedAt)),
      ...unreadParts(fields(entry), ENTRY, (what) => unknown('unsupported', what, entry)),
    ]
  })
}

/** The fields of an entry, and of the value of a change, that are read. */
const ENTRY: readonly string[] = ['id', 'time', 'changes']
const VALUE: readonly string[] = ['messaging_product', 'metadata', 'contacts', 'messages', 'statuses', 'errors']

function changeParts(change: unknown, receivedAt: number): readonly InboundPart[] {
  const { field, value: given } = fields(change)
  if (typeof field !== 'string') return [unknown('malformed', 'change', change)]
  if (field !== 'messages') return [unknown('unsupported', nameOf(field), change)]
  const value = fields(given)
  const accountId = id(fields(value.metadata).phone_number_id)
  const { messages, statuses, errors } = value
  if (accountId === undefined || (messages ?? statuses ?? errors) === undefined) {
    return [unknown('malformed', 'change', change)]
  }
  const malformed = (): InboundPart => unknown('malformed', 'change', change, accountId)
  const contacts = new Contacts(value.contacts)
  return [
    ...partsOf(messages, malformed, (raw) => [messagePart(accountId, contacts, raw, receivedAt)]),
    ...partsOf(statuses, malformed, (raw) => [statusPart(accountId, contacts, raw, receivedAt)]),
    ...partsOf(errors, malformed, (raw) => [unknown('unsupported', 'errors', raw, accountId)]),
    ...unreadParts(value, VALUE, (what) => unknown('unsupported', what, change, accountId)),
  ]
}

/** A user has a number, an id, or both. */
interface Contact {
  readonly waId: string | undefined
  readonly userId: string | undefined
  readonly name: string | undefined
}

/** The contacts of one change, by number and by id. */
class Contacts {
  readonly #byWaId = new Map<string, Contact>()
  readonly #byUserId = new Map<string, Contact>()
  readonly #only: Contact | undefined

  constructor(contacts: unknown) {
    const all = list(contacts).map((contact): Contact => {
      const { wa_id, user_id, profile } = fields(contact)
      return { waId: id(wa_id), userId: id(user_id), name: text(fields(profile).name) }
    })
    for (const contact of all) {
      if (contact.waId !== undefined) this.#byWaId.set(contact.waId, contact)
      if (contact.userId !== undefined) this.#byUserId.set(contact.userId, contact)
    }
    this.#only = all.length === 1 ? all[0] : undefined
  }

  /**
   * Completes a number and a user id, of which either may be missing. If both are missing, the contact is known only if
   * it is the only one.
   */
  find(number: unknown, user: unknown): Contact {
    const waId = id(number)
    const userId = id(user)
    const neither = isAbsent(number) && isAbsent(user)
    const known = neither ? this.#only : (this.#byWaId.get(waId ?? '') ?? this.#byUserId.get(userId ?? ''))
    return { waId: waId ?? known?.waId, userId: userId ?? known?.userId, name: known?.name }
  }
}

/** WhatsApp also sends an empty string for an absent value. */
function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || value === ''
}

function messagePart(accountId: string, contacts: Contacts, raw: unknown, receivedAt: number): InboundPart {
  const message = fields(raw)
  const messageId = id(message.id)
  const { waId, userId, name } = contacts.find(message.from, message.from_user_id)
  const from = waId ?? userId
  if (messageId === undefined || from === undefined) return unknown('malformed', 'message', raw, accountId)
  const kind = kindOf(message.type)
  return {
    message: {
      provider: 'whatsapp',
      accountId,
      messageId,
      from,
      ...(userId !== undefined && { fromUserId: userId }),
      ...(name !== undefined && { fromName: name }),
      text: textOf(message, kind) ?? `[${kind}]`,
      kind,
      at: time(message.timestamp, 1000, receivedAt),
      raw,
    },
  }
}

function statusPart(accountId: string, contacts: Contacts, raw: unknown, receivedAt: number): InboundPart {
  const { id: given, status, recipient_id, recipient_user_id, timestamp } = fields(raw)
  const messageId = id(given)
  if (messageId === undefined || typeof status !== 'string') return unknown('malformed', 'status', raw, accountId)
  const { waId, userId } = contacts.find(recipient_id, recipient_user_id)
  const to = waId ?? userId
  return {
    status: {
      provider: 'whatsapp',
      accountId,
      messageId,
      ...(to !== undefined && { to }),
      status: nameOf(status),
      at: time(timestamp, 1000, receivedAt),
      raw,
    },
  }
}

function unknown(reason: 'malformed' | 'unsupported', what: string, raw: unknown, accountId?: string): InboundPart {
  return unknownPart('whatsapp', accountId, reason, what, raw)
}

/** Returns the text that the customer wrote, tapped or chose. The content is under the key named like the type. */
function textOf(message: Fields, kind: string): string | undefined {
  const content = fields(message[kind])
  switch (kind) {
    case 'text':
    case 'system':
      return text(content.body)
    case 'button':
      return text(content.text)
    case 'interactive':
      return text(fields(content.button_reply).title) ?? text(fields(content.list_reply).title)
    case 'reaction':
      return text(content.emoji)
    case 'location':
      return text(content.name) ?? text(content.address)
    case 'order':
      return text(content.text)
    default:
      return text(content.caption)
  }
}
