import { expect } from 'chai'
import fc from 'fast-check'
import type { InboundMessage, PayloadParser } from '../../../lib/routers/webhooks/message.js'
import * as messenger from '../../../lib/routers/webhooks/messenger.js'
import * as whatsapp from '../../../lib/routers/webhooks/whatsapp.js'
import {
  MESSAGING_KINDS,
  messagingEvent,
  messagingPayload,
  NO_MESSAGES,
  WHATSAPP_KINDS,
  whatsAppPayload,
  whatsAppStatuses,
  whatsAppTemplateStatus,
  whatsAppText,
} from './payloads.js'

const NOW = 1_750_000_000_000

type Parse = (payload: unknown, receivedAt: number) => readonly InboundMessage[] | undefined

/** The messages alone. */
function messagesOf(parse: PayloadParser): Parse {
  return (payload, receivedAt) => parse(payload, receivedAt)?.flatMap(({ message }) => message ?? [])
}

function unknownOf(parts: ReturnType<PayloadParser>): readonly string[] | undefined {
  return parts?.flatMap(({ unknown }) => (unknown === undefined ? [] : [`${unknown.reason} ${unknown.what}`]))
}

const parseWhatsApp = messagesOf(whatsapp.parseWhatsApp)
const parseMessenger = messagesOf(messenger.parseMessenger)
const parseInstagram = messagesOf(messenger.parseInstagram)

describe('the webhook payload parsers', () => {
  it('report unread parts beside the parts that are read', () => {
    const change = {
      field: 'messages',
      value: { metadata: { phone_number_id: '1' }, messages: [], calls: [{ id: 'c' }] },
    }
    const account = {
      object: 'whatsapp_business_account',
      entry: [{ id: '1', changes: [change], pricing: [{ a: 1 }] }],
    }
    expect(unknownOf(whatsapp.parseWhatsApp(account, NOW))).to.deep.equal(['unsupported calls', 'unsupported pricing'])

    const sender = { id: '1' }
    const messaging = [
      { sender, timestamp: NOW, message: { mid: 'm', text: 'x' }, postback: { payload: 'p' } },
      { sender, delivery: { mids: ['a'] }, read: { watermark: NOW } },
    ]
    for (const [parse, object] of [
      [messenger.parseMessenger, 'page'],
      [messenger.parseInstagram, 'instagram'],
    ] as const) {
      const payload = { object, entry: [{ id: '9', time: NOW, messaging, hints: { a: 1 }, empty: [], none: null }] }
      expect(unknownOf(parse(payload, NOW))).to.deep.equal([
        'unsupported postback',
        'unsupported read',
        'unsupported hints',
      ])
    }
  })

  it('read a WhatsApp message with its account, sender, name and time', () => {
    const raw = whatsAppText('wamid.1')
    expect(parseWhatsApp(whatsAppPayload([raw]), NOW)).to.deep.equal([
      {
        provider: 'whatsapp',
        accountId: '106540352242922',
        messageId: 'wamid.1',
        from: '16505551234',
        fromName: 'Sheena Nelson',
        text: 'Does it come in another color?',
        kind: 'text',
        at: 1_749_416_383_000,
        raw,
      },
    ])
  })

  for (const [message, kind, text] of WHATSAPP_KINDS) {
    it(`read a WhatsApp message ${JSON.stringify(message).slice(0, 60)} as "${text}"`, () => {
      const payload = whatsAppPayload([{ from: '1', id: 'wamid.1', timestamp: '1', ...message }])
      const [parsed] = parseWhatsApp(payload, NOW) ?? []
      expect(parsed).to.include({ kind, text, at: 1000 })
      expect(parsed).not.to.have.property('fromName')
    })
  }

  it('read no messages from WhatsApp statuses and other fields', () => {
    for (const payload of [whatsAppStatuses(), whatsAppTemplateStatus()]) {
      expect(parseWhatsApp(payload, NOW)).to.deep.equal([])
    }
  })

  it('keep the order over entries and changes', () => {
    const payloads = [
      whatsAppPayload([whatsAppText('1'), whatsAppText('2')]),
      whatsAppPayload([whatsAppText('3')]),
    ] as { entry: { changes: object[] }[] }[]
    const [first, second] = payloads.flatMap(({ entry }) => entry)
    const changes = [...(first?.changes ?? []), ...(second?.changes ?? [])]
    const payload = { object: 'whatsapp_business_account', entry: [{ id: '1', changes }, second] }
    expect(parseWhatsApp(payload, NOW)?.map(({ messageId }) => messageId)).to.deep.equal(['1', '2', '3', '3'])
  })

  it('do not read WhatsApp messages without an exact id, sender or account', () => {
    const good = whatsAppText('wamid.1')
    const messages = [
      { ...good, id: undefined },
      { ...good, id: '' },
      { ...good, id: '\ud800' },
      { ...good, from: {} },
      null,
      7,
    ]
    expect(parseWhatsApp(whatsAppPayload(messages as object[]), NOW)).to.deep.equal([])
    expect(parseWhatsApp(whatsAppPayload([good], { metadata: {} }), NOW)).to.deep.equal([])
  })

  for (const { provider, object, parse } of [
    { provider: 'messenger', object: 'page', parse: parseMessenger },
    { provider: 'instagram', object: 'instagram', parse: parseInstagram },
  ] as const) {
    it(`read a message of ${provider}`, () => {
      const raw = { mid: 'm_AG5Hz2Uq', text: 'Hello' }
      expect(parse(messagingPayload(object, [messagingEvent(raw)]), NOW)).to.deep.equal([
        {
          provider,
          accountId: '682498302938465',
          messageId: 'm_AG5Hz2Uq',
          from: '6194012387301',
          text: 'Hello',
          kind: 'text',
          at: 1_569_262_485_349,
          raw,
        },
      ])
    })

    it(`read each kind of message of ${provider}`, () => {
      for (const [message, kind, text] of MESSAGING_KINDS) {
        const [parsed] = parse(messagingPayload(object, [messagingEvent(message)]), NOW) ?? []
        expect(parsed).to.include({ kind, text })
      }
    })

    it(`read no messages from echoes, receipts and standby of ${provider}`, () => {
      const standby = [messagingEvent({ mid: 'm', text: "another app's" })]
      expect(parse(messagingPayload(object, NO_MESSAGES, { standby }), NOW)).to.deep.equal([])
    })
  }

  it('use the time of arrival if the payload has no valid time', () => {
    for (const timestamp of [undefined, '', 'soon', '-1', -1, 1e300, Number.NaN]) {
      const payload = whatsAppPayload([{ ...whatsAppText('1'), timestamp }])
      expect(parseWhatsApp(payload, NOW)?.[0]?.at).to.equal(NOW)
    }
  })

  it('distinguish a foreign payload from one without messages', () => {
    for (const parse of [parseWhatsApp, parseMessenger, parseInstagram]) {
      for (const payload of [null, 7, 'text', [], {}, { object: 'user', entry: [] }, { entry: [] }]) {
        expect(parse(payload, NOW)).to.equal(undefined)
      }
    }
    expect(parseWhatsApp({ object: 'whatsapp_business_account', entry: [] }, NOW)).to.deep.equal([])
    expect(parseWhatsApp({ object: 'whatsapp_business_account' }, NOW)).to.equal(undefined)
  })

  it('never throw, for any values at any place', () => {
    const anything = fc.jsonValue()
    const messages = fc.array(
      fc.oneof(anything, fc.record({ id: anything, from: anything, type: anything, text: anything })),
    )
    const value = fc.record({
      metadata: fc.oneof(anything, fc.constant({ phone_number_id: '1' })),
      contacts: anything,
      messages,
    })
    const changes = fc.array(fc.oneof(anything, fc.record({ field: fc.constant('messages'), value })))
    const events = fc.array(
      fc.oneof(
        anything,
        fc.record({
          sender: fc.record({ id: anything }),
          timestamp: anything,
          message: fc.record({ mid: anything, text: anything, attachments: anything }),
        }),
      ),
    )
    const entry = fc.array(fc.oneof(anything, fc.record({ id: anything, changes, messaging: events })))
    fc.assert(
      fc.property(entry, (entries) => {
        for (const parse of [parseWhatsApp, parseMessenger, parseInstagram]) {
          for (const object of ['whatsapp_business_account', 'page', 'instagram']) {
            for (const message of parse({ object, entry: entries }, NOW) ?? []) {
              expect(message.text.isWellFormed() && message.text !== '').to.equal(true)
              expect(new Date(message.at).getTime()).to.equal(message.at)
            }
          }
        }
      }),
      { numRuns: 300 },
    )
  })
})
