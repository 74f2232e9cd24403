/**
 * A user of one tenant at every route of the example, with everything that belongs to another tenant: ids, cursors,
 * tickets, stream ids, names of channels. No answer has a byte of the other tenant, and no request has an effect there.
 */
import { conversationsChannel, messagesChannel } from '../../lib/index.js'
import { TestInbox } from '../example/harness.js'
import { eventually } from '../helpers/eventually.js'
import type { SseClient } from '../helpers/sse-client.js'
import type { Random } from '../proof/random.js'
import { type Area, type Findings, inParallel, turns } from './area.js'
import { hostileText } from './hostile-text.js'
import { SECRET } from './site.js'

const WIDTH = 8
/** Each token signs in again after so many cases: a limit counts the requests of a user. */
const USERS = 50_000
const WINDOW = 3

/** What belongs to the other tenant. */
interface Foreign {
  readonly conversation: string
  readonly cursors: readonly string[]
  readonly streams: readonly string[]
  readonly token: string
}

async function foreignOf(inbox: TestInbox, streams: SseClient[]): Promise<Foreign> {
  const token = await inbox.signIn('ada', 'globex')
  const list = (await inbox.call('GET', '/api/v1/conversations', { token })).body as { items: { id: string }[] }
  const conversation = list.items[0]?.id ?? ''
  for (let i = 0; i < 2 * WINDOW; i++) {
    await inbox.call('POST', `/api/v1/conversations/${conversation}/messages`, {
      token,
      body: { text: `${SECRET} ${i}` },
    })
  }
  const { multiplexer } = inbox.services
  const cursors = await Promise.all(
    [conversationsChannel('globex'), messagesChannel('globex', conversation)].map((name) => multiplexer.cursor(name)),
  )
  // Their windows are full: an acknowledgement that had an effect would let them send more.
  for (const path of ['/conversations', `/messages/${conversation}`]) {
    streams.push(await inbox.stream(`${path}?window=${WINDOW}`, token))
  }
  const ids = streams.map(({ events }) => (JSON.parse(events[0]?.data ?? '{}') as { stream: string }).stream)
  for (let i = 0; i < 2 * WINDOW; i++) {
    await inbox.call('POST', `/api/v1/conversations/${conversation}/messages`, {
      token,
      body: { text: `${SECRET} more ${i}` },
    })
  }
  await eventually(() => streams.every(({ messages }) => messages.length === WINDOW))
  return { conversation, cursors, streams: ids, token }
}

interface Request {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly headers?: Record<string, string>
}

function hostileRequest({ conversation, cursors, streams }: Foreign, own: string, random: Random): Request {
  const id = random.pick([
    conversation,
    encodeURIComponent(`globex:${conversation}`),
    `..%2Fglobex%2F${conversation}`,
    encodeURIComponent(`${conversation}${random.pick([' ', '\0', '%00', '/', ':'])}`),
    `${own}%2F..%2F${conversation}`,
    encodeURIComponent(hostileText(random, 1).toWellFormed()),
  ])
  const epochs = cursors.map((cursor) => cursor.split('-')[0])
  const cursor = random.pick([...cursors, cursors.join('.'), `${random.pick(epochs)}-0`, `${random.pick(epochs)}-1`])
  const query = random.pick([
    '',
    '?from=earliest',
    `?last_event_id=${cursor}`,
    `?cursor=${cursor}`,
    `?tenant=globex&last_event_id=${cursor}`,
  ])
  const headers = random.chance(0.3) ? { 'last-event-id': cursor, 'x-tenant': 'globex' } : {}
  const [stream = ''] = [random.pick(streams)]
  const ack = random.pick([
    stream,
    `${stream}x`,
    stream.replace(/[^.]*$/, '-'),
    stream.replace(/[^.]*$/, hostileText(random)),
  ])
  return random.pick<Request>([
    { method: 'GET', path: `/api/v1/sse/messages/${id}${query}`, headers },
    { method: 'GET', path: `/api/v1/sse/conversations${query}`, headers },
    { method: 'GET', path: `/api/v1/sse/poll/messages/${id}${query}`, headers },
    { method: 'GET', path: `/api/v1/sse/poll/conversations${query}`, headers },
    { method: 'GET', path: `/api/v1/conversations${query}`, headers },
    { method: 'GET', path: `/api/v1/conversations/${id}/messages${query}`, headers },
    { method: 'POST', path: `/api/v1/conversations/${id}/messages`, body: { text: 'from mallory', tenant: 'globex' } },
    { method: 'POST', path: `/api/v1/conversations/${id}/read`, body: { tenant: 'globex' } },
    { method: 'POST', path: '/api/v1/sse/ack', body: { stream: ack, cursor, buffer: 0 } },
    { method: 'GET', path: '/api/v1/dashboard/init?tenant=globex&user=ada', headers },
    { method: 'POST', path: '/api/v1/sse/tickets', body: { path: `/api/v1/sse/messages/${id}`, tenant: 'globex' } },
  ])
}

/** Sends the request. A stream is read for some turns only. */
async function send(
  inbox: TestInbox,
  token: string,
  request: Request,
  random: Random,
  findings: Findings,
): Promise<void> {
  const { method, path, body, headers = {} } = request
  const leaving = new AbortController()
  const response = await fetch(inbox.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    signal: leaving.signal,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  let text = JSON.stringify([...response.headers])
  findings.count(response.status)
  if (response.headers.get('content-type')?.startsWith('text/event-stream')) {
    const reader = response.body?.getReader()
    const first = await reader?.read()
    text += Buffer.from(first?.value ?? '').toString()
    await turns(random.below(20))
    leaving.abort()
  } else text += await response.text()
  if (text.includes(SECRET)) findings.violate(`foreign bytes: ${method} ${path}`)
  // Overload is documented, and likely on a busy machine.
  const isOverloaded = response.status === 503 && text.includes('"code":"ERR_SSE_OVERLOADED"')
  if (response.status >= 500 && !isOverloaded)
    findings.violate(`${response.status}: ${method} ${path}: ${text.slice(0, 300)}`)
}

export const tenants: Area = {
  name: 'tenants',
  about: 'ids, cursors, tickets and acknowledgements of another tenant at every route',
  async run(cases, random, findings) {
    const inbox = await TestInbox.start()
    const streams: SseClient[] = []
    try {
      const foreign = await foreignOf(inbox, streams)
      const before = await inbox.call('GET', '/api/v1/conversations', { token: foreign.token })
      let token = await inbox.signIn('mallory0', 'acme')
      const [own] = ((await inbox.call('GET', '/api/v1/conversations', { token })).body as { items: { id: string }[] })
        .items
      await inParallel(cases, WIDTH, async (number) => {
        if (number % 200 === 199) token = await inbox.signIn(`mallory${number % USERS}`, 'acme')
        const request = hostileRequest(foreign, own?.id ?? '', random)
        await findings.case(
          () => `case ${number} (${request.method} ${request.path})`,
          () => send(inbox, token, request, random, findings),
        )
      })
      const after = await inbox.call('GET', '/api/v1/conversations', { token: foreign.token })
      if (after.text !== before.text) findings.violate('a request had an effect on the other tenant')
      for (const { messages } of streams) {
        if (messages.length !== WINDOW) findings.violate('an acknowledgement of another user had an effect')
      }
      await eventually(() => inbox.services.multiplexer.status().streams === streams.length, 20_000)
    } finally {
      await inbox.stop()
    }
  },
}
