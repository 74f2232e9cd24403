/**
 * HTTP/1 on raw sockets: requests of any kind pipelined in one connection and cut at any byte, bodies with wrong or odd
 * framing that may never end, and connections that are half-closed, reset or abandoned.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Random } from '../proof/random.js'
import { type Area, type Findings, inParallel, turns } from './area.js'
import { hostileText, mutate } from './hostile-text.js'
import { firstAnswer, leave } from './leaving.js'
import { SECRET, Site, TOKEN } from './site.js'

const WIDTH = 16
const PULSE = 10

const PATHS = [
  '/sse/conversations',
  '/sse/conversations?window=1',
  '/sse/messages/1',
  '/sse/messages/closed',
  '/sse/poll/conversations',
  '/sse/poll/conversations?from=earliest',
  '/sse/poll/messages/1?wait=300',
  '/sse/ack',
  '/own',
  '/tickets',
  '/dashboard/init',
  '/webhooks/whatsapp',
  '/nowhere',
]
const METHODS = ['GET', 'GET', 'GET', 'GET', 'POST', 'POST', 'HEAD', 'OPTIONS', 'DELETE']

function chunked(text: string, random: Random): string {
  let body = ''
  for (let rest = text; rest !== ''; ) {
    const length = 1 + random.below(rest.length)
    const size = random.pick([length.toString(16), length.toString(16).padStart(8, '0'), `${length.toString(16)};x=y`])
    body += `${size}\r\n${rest.slice(0, length)}\r\n`
    rest = rest.slice(length)
  }
  return `${body}${random.chance(0.8) ? '0\r\n' : ''}${random.pick(['\r\n', '\r\n', 'X-Trailer: y\r\n\r\n', ''])}`
}

function bodyOf(random: Random): string {
  const path = `/sse/${random.pick(['conversations', 'messages/1'])}`
  return random.pick([
    '{}',
    JSON.stringify({ path }),
    JSON.stringify({ stream: hostileText(random), cursor: 'abcdef-1' }),
    hostileText(random, 1),
    'x'.repeat(random.below(5000)),
  ])
}

function request(random: Random): string {
  const method = random.pick(METHODS)
  const version = random.pick(['1.1', '1.1', '1.1', '1.1', '1.0'])
  const head = [`${method} ${random.pick(PATHS)} HTTP/${version}`, 'Host: a', `Authorization: Bearer ${TOKEN}`]
  if (random.chance(0.2)) head.push(`Connection: ${random.pick(['close', 'keep-alive', 'upgrade', 'x'])}`)
  if (random.chance(0.1)) head.push(`Last-Event-ID: ${encodeURIComponent(hostileText(random).toWellFormed())}`)
  if (random.chance(0.05)) head.push(`X-Large: ${'y'.repeat(random.below(20_000))}`)
  if (method !== 'POST' && random.chance(0.9)) return `${head.join('\r\n')}\r\n\r\n`
  const body = bodyOf(random)
  if (random.chance(0.15)) head.push('Expect: 100-continue')
  if (random.chance(0.5)) {
    const length = Buffer.byteLength(body)
    head.push(
      `Content-Length: ${random.pick([length, length, length, length + 5, Math.max(0, length - 3), '1x', '-1', 1e9])}`,
    )
    if (random.chance(0.05)) head.push(`Content-Length: ${length}`)
    if (random.chance(0.05)) head.push('Transfer-Encoding: chunked')
    return `${head.join('\r\n')}\r\n\r\n${body}`
  }
  head.push(`Transfer-Encoding: ${random.pick(['chunked', 'chunked', 'chunked', 'gzip, chunked', 'identity'])}`)
  return `${head.join('\r\n')}\r\n\r\n${chunked(body, random)}`
}

/** Node's own answers to bytes that are not HTTP have no code, all others must not be 5xx. */
function check(received: string, findings: Findings): void {
  if (received.includes(SECRET)) findings.violate('foreign bytes on HTTP/1')
  for (const [, status = ''] of received.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)) {
    findings.count(status)
    if (status >= '500') findings.violate(`a ${status}: ${received.slice(0, 500)}`)
  }
}

async function hostileConnection(site: Site, random: Random, findings: Findings): Promise<void> {
  const socket = connect({ port: site.port, host: '127.0.0.1', allowHalfOpen: true })
  let received = ''
  socket.on('error', () => findings.count('connection error'))
  socket.on('data', (chunk: Buffer) => {
    if (received.length < 200_000) received += chunk.toString('latin1')
  })
  await once(socket, 'connect')
  let bytes: Buffer = Buffer.from(Array.from({ length: 1 + random.below(10) }, () => request(random)).join(''))
  if (random.chance(0.25)) bytes = mutate(bytes, random)
  if (random.chance(0.3)) bytes = bytes.subarray(0, random.below(bytes.length + 1))
  const isSlow = random.chance(0.1)
  for (let start = 0; start < bytes.length && !socket.destroyed; ) {
    const end = random.chance(0.4) ? bytes.length : start + 1 + random.below(isSlow ? 3 : 400)
    socket.write(bytes.subarray(start, end))
    start = end
    await turns(random.below(3))
    if (isSlow && start > 300) break
  }
  if (random.chance(0.7)) await firstAnswer(socket)
  await turns(random.below(20))
  await leave(socket, random)
  check(received, findings)
}

export const http1: Area = {
  name: 'http1',
  about: 'pipelined, cut, slow, half-closed and wrongly framed requests',
  async run(cases, random, findings) {
    const site = await Site.start({ findings })
    try {
      await inParallel(cases, WIDTH, async (number) => {
        await findings.case(
          () => `case ${number}`,
          () => hostileConnection(site, random, findings),
        )
        if (number % PULSE === 0) await site.pulse()
      })
      await site.assertHealthy()
    } finally {
      await site.stop()
    }
  },
}
