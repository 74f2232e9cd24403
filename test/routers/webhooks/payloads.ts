/** Deliveries as Meta documents them. */

export function whatsAppPayload(messages: readonly object[], rest: object = {}): object {
  return {
    object: 'whatsapp_business_account',
    entry: [
      {
        id: '102290129340398',
        changes: [
          {
            value: {
              messaging_product: 'whatsapp',
              metadata: { display_phone_number: '15550783881', phone_number_id: '106540352242922' },
              contacts: [{ profile: { name: 'Sheena Nelson' }, wa_id: '16505551234' }],
              messages,
              ...rest,
            },
            field: 'messages',
          },
        ],
      },
    ],
  }
}

const FROM = { from: '16505551234', timestamp: '1749416383' }

export function whatsAppText(id: string, body = 'Does it come in another color?'): object {
  return { ...FROM, id, type: 'text', text: { body } }
}

/** Each kind of WhatsApp message, with its text representation. */
export const WHATSAPP_KINDS: readonly [message: object, kind: string, text: string][] = [
  [{ type: 'text', text: { body: 'Hello' } }, 'text', 'Hello'],
  [
    {
      type: 'image',
      image: { caption: 'Taj Mahal', mime_type: 'image/jpeg', sha256: 'SfInY0gG', id: '1003383421387256' },
    },
    'image',
    'Taj Mahal',
  ],
  [
    { type: 'image', image: { mime_type: 'image/jpeg', sha256: 'SfInY0gG', id: '1003383421387256' } },
    'image',
    '[image]',
  ],
  [
    { type: 'audio', audio: { mime_type: 'audio/ogg; codecs=opus', id: '1908647269898587', voice: true } },
    'audio',
    '[audio]',
  ],
  [
    { type: 'document', document: { caption: 'Invoice', filename: 'invoice.pdf', id: '1376223850470843' } },
    'document',
    'Invoice',
  ],
  [
    { type: 'sticker', sticker: { mime_type: 'image/webp', id: '798882015472548', animated: false } },
    'sticker',
    '[sticker]',
  ],
  [
    { type: 'button', button: { payload: 'Unsubscribe', text: 'Unsubscribe' }, context: { id: 'wamid.0' } },
    'button',
    'Unsubscribe',
  ],
  [
    {
      type: 'interactive',
      interactive: { type: 'button_reply', button_reply: { id: 'cancel-button', title: 'Cancel' } },
    },
    'interactive',
    'Cancel',
  ],
  [
    {
      type: 'interactive',
      interactive: {
        type: 'list_reply',
        list_reply: { id: 'priority_express', title: 'Priority Mail Express', description: '1-2 Days' },
      },
    },
    'interactive',
    'Priority Mail Express',
  ],
  [
    { type: 'interactive', interactive: { type: 'nfm_reply', nfm_reply: { response_json: '{}' } } },
    'interactive',
    '[interactive]',
  ],
  [{ type: 'reaction', reaction: { message_id: 'wamid.1', emoji: '👍' } }, 'reaction', '👍'],
  [
    { type: 'location', location: { latitude: 37.44, longitude: -122.16, name: 'Philz Coffee' } },
    'location',
    'Philz Coffee',
  ],
  [{ type: 'location', location: { latitude: 37.44, longitude: -122.16 } }, 'location', '[location]'],
  [{ type: 'contacts', contacts: [{ name: { formatted_name: 'Barbara' } }] }, 'contacts', '[contacts]'],
  [
    { type: 'order', order: { catalog_id: '194836987003835', text: 'Love these!', product_items: [] } },
    'order',
    'Love these!',
  ],
  [{ type: 'unsupported', errors: [{ code: 131051, title: 'Message type unknown' }] }, 'unsupported', '[unsupported]'],
  [{ type: 'text', text: { body: 'half \ud83d' } }, 'text', 'half \ufffd'],
  [{ type: '<script>' }, 'unknown', '[unknown]'],
  [{ type: 'constructor' }, 'constructor', '[constructor]'],
  [{}, 'unknown', '[unknown]'],
]

export function whatsAppStatuses(): object {
  return whatsAppPayload([], {
    messages: undefined,
    statuses: [
      {
        id: 'wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBI3MTE5MjVBOTE3MDk5QUVFM0YA',
        status: 'delivered',
        timestamp: '1750263773',
        recipient_id: '16505551234',
        conversation: { id: '6ceb9d929c9bdc4f90967a32f8639b4f', origin: { type: 'service' } },
        pricing: { billable: true, pricing_model: 'PMP', category: 'service' },
      },
    ],
  })
}

export function whatsAppTemplateStatus(): object {
  return {
    object: 'whatsapp_business_account',
    entry: [
      {
        id: '102290129340398',
        time: 1751247548,
        changes: [
          {
            value: {
              event: 'APPROVED',
              message_template_id: 1689556908129832,
              message_template_name: 'order_confirmation',
            },
            field: 'message_template_status_update',
          },
        ],
      },
    ],
  }
}

export function messagingPayload(object: 'page' | 'instagram', events: readonly object[], rest: object = {}): object {
  return { object, entry: [{ time: 1569262486134, id: '682498302938465', messaging: events, ...rest }] }
}

export function messagingEvent(message: object): object {
  return {
    sender: { id: '6194012387301' },
    recipient: { id: '682498302938465' },
    timestamp: 1569262485349,
    message,
  }
}

/** Each kind of Messenger or Instagram message, with its text representation. */
export const MESSAGING_KINDS: readonly [message: object, kind: string, text: string][] = [
  [{ mid: 'm', text: 'Hello' }, 'text', 'Hello'],
  [{ mid: 'm', text: 'Red', quick_reply: { payload: 'RED' } }, 'text', 'Red'],
  [{ mid: 'm', attachments: [{ type: 'image', payload: { url: 'https://cdn.example/a.jpg' } }] }, 'image', '[image]'],
  [
    { mid: 'm', text: 'Look', attachments: [{ type: 'video', payload: { url: 'https://cdn.example/a.mp4' } }] },
    'video',
    'Look',
  ],
  [
    {
      mid: 'm',
      text: 'https://a.example',
      attachments: [{ type: 'fallback', payload: { url: 'https://a.example', title: 'A' } }],
    },
    'text',
    'https://a.example',
  ],
  [
    { mid: 'm', attachments: [{ type: 'story_mention', payload: { url: 'https://cdn.example/s' } }] },
    'story_mention',
    '[story_mention]',
  ],
  [{ mid: 'm', is_unsupported: true }, 'unsupported', '[unsupported]'],
  [{ mid: 'm', attachments: 'none' }, 'unknown', '[unknown]'],
]

/** Events of the `messaging` list that are not messages of a customer. */
export const NO_MESSAGES: readonly object[] = [
  { ...messagingEvent({ mid: 'm', text: 'our own', is_echo: true, app_id: 1517776481860111 }) },
  { ...messagingEvent({ mid: 'm', is_deleted: true }) },
  { ...messagingEvent({ text: 'no id' }) },
  { recipient: { id: '682498302938465' }, timestamp: 1, message: { mid: 'm', text: 'no sender' } },
  { ...messagingEvent({}), message: undefined, delivery: { mids: ['m'], watermark: 1458668856253 } },
  { ...messagingEvent({}), message: undefined, read: { watermark: 1458668856253 } },
  { ...messagingEvent({}), message: undefined, reaction: { mid: 'm', action: 'react', emoji: '❤️' } },
  { ...messagingEvent({}), message: undefined, postback: { mid: 'm', title: 'Get started', payload: 'START' } },
]
