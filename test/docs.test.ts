import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'chai'
import express from 'express'
import {
  CLOSE_REASONS,
  conversationStreams,
  createMultiplexer,
  createPacing,
  diagnostics,
  diagnosticsChannels,
  ERROR_CODES,
  rateLimit,
  sseErrors,
  sseMiddleware,
} from '../lib/index.js'
import { serve } from './helpers/http-server.js'
import { RedisServer } from './helpers/redis-server.js'
import { SseClient } from './helpers/sse-client.js'

const root = join(import.meta.dirname, '..')

/** The text below each heading of the third level, by heading. @param under a heading of the second level */
async function sectionsOf(page: string, under = ''): Promise<Map<string, string>> {
  const text = await readFile(join(root, 'docs', page), 'utf8')
  const chapters = text.split(/^## /m).filter((chapter) => chapter.startsWith(under))
  const sections = chapters.flatMap((chapter) => chapter.split(/^### `/m).slice(1))
  return new Map(sections.map((section) => [section.slice(0, section.indexOf('`')), section.replace(/^.*\n\n/, '')]))
}

/** Every match in `lib`, or in a folder of it. */
async function foundInSource(pattern: RegExp, folder = ''): Promise<Set<string>> {
  const found = new Set<string>()
  for (const file of await readdir(join(root, 'lib', folder), { recursive: true })) {
    if (!/\.tsx?$/.test(file)) continue
    const source = await readFile(join(root, 'lib', folder, file), 'utf8')
    for (const [, name = ''] of source.matchAll(pattern)) found.add(name)
  }
  return found
}

describe('docs/errors.md', () => {
  it('has each error code with its status, and no other', async () => {
    const sections = [...(await sectionsOf('errors.md'))].filter(([name]) => name.startsWith('ERR_'))
    const documented = sections.map(([code, text]) => `${code} ${/^Status (\d{3})\. /.exec(text)?.[1]}`)
    expect(documented).to.have.members(Object.entries(ERROR_CODES).map(([code, { status }]) => `${code} ${status}`))
  })

  it('has each close reason with its code and whether clients reconnect, and no other', async () => {
    const sections = [...(await sectionsOf('errors.md', 'Close reasons'))]
    const documented = sections.map(([reason, text]) => `${reason} ${/^(Code \d+, .+?)\. /.exec(text)?.[1]}`)
    const expected = Object.entries(CLOSE_REASONS).map(
      ([reason, { code, reconnect }]) => `${reason} Code ${code}, ${reconnect ? 'reconnects' : 'does not reconnect'}`,
    )
    expect(documented).to.have.members(expected)
  })

  it('has each code of the browser client, and no other', async () => {
    const codes = await foundInSource(/'(ERR_SSE_[A-Z_]+)'/g, 'client')
    expect(await listedIn('In the browser client')).to.have.members([...codes])
  })

  it('has each process warning, and no other', async () => {
    expect(await listedIn('Process warnings')).to.have.members([...(await foundInSource(/'(SSE_[A-Z_]+)'/g))])
  })

  async function listedIn(heading: string): Promise<string[]> {
    const text = await readFile(join(root, 'docs/errors.md'), 'utf8')
    const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? ''
    return [...section.matchAll(/^- `([A-Z_]+)`/gm)].map(([, name = '']) => name)
  }
})

describe('docs/diagnostics.md', () => {
  it('has each channel with its name, and no other', async () => {
    const documented = [...(await sectionsOf('diagnostics.md'))].map(([key, text]) => [key, /^`(.+?)`/.exec(text)?.[1]])
    expect(documented).to.have.deep.members(Object.entries(diagnostics))
  })

  describe('of the messages', () => {
    /** The fields of every message that was published, by channel. */
    const published = new Map<string, Set<string>>()
    const stops: (() => unknown)[] = []

    before(() => {
      for (const [key, channel] of Object.entries(diagnosticsChannels)) {
        const onMessage = (message: unknown): void => {
          published.set(key, new Set([...(published.get(key) ?? []), ...Object.keys(message as object)]))
        }
        channel.subscribe(onMessage)
        stops.push(() => channel.unsubscribe(onMessage))
      }
    })
    after(async () => {
      for (const stop of stops.reverse()) await stop()
    })

    it('names all fields', async () => {
      await exerciseEmbedded()
      await exerciseRedis()
      const sections = await sectionsOf('diagnostics.md')
      for (const [key, fields] of published) {
        expect([...fieldsIn(sections.get(key) ?? '')], key).to.include.members([...fields])
      }
      expect([...published.keys()]).to.include.members([
        ...['streamOpen', 'streamClose', 'streamRefused', 'streamError', 'streamPaced', 'streamDrop', 'streamAck'],
        ...['streamReplay', 'pollAnswer', 'publishEnd', 'channelDeliver', 'channelRead', 'channelLoss'],
        ...['brokerState', 'brokerCommand', 'redisCommand', 'limiterError', 'limiterDecision', 'callbackError'],
      ])
    })

    /** The names at the beginning of list items, before the first colon: `- `a`, `b`: …`. */
    function fieldsIn(section: string): Set<string> {
      const lists = [...section.matchAll(/^- ((?:`\w+`(?:, )?)+)/gm)].map(([, names = '']) => names)
      return new Set(lists.flatMap((names) => [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => name)))
    }

    async function exerciseEmbedded(): Promise<void> {
      const multiplexer = createMultiplexer({ historySize: 2, tailEntries: 0 })
      stops.push(() => multiplexer.close())
      const app = express()
      const failing = (): never => {
        throw new Error('countWhen')
      }
      app.use(rateLimit({ by: 'ip', points: 1000, duration: 60, countWhen: failing }))
      app.all(
        '/orders',
        multiplexer.stream(() => 'orders'),
      )
      app.get(
        '/poll',
        multiplexer.poll(() => 'orders'),
      )
      app.post('/ack', multiplexer.ack())
      const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 0.001 } })
      app.get('/failing', sseMiddleware({ queueEvents: 0, pacing }), (_req, res) => {
        const stream = res.sse()
        stream.send({ data: 1 })
        stream.send({ data: 2 })
        throw new Error('after the stream was opened')
      })
      app.use((req, _res, next) => {
        Object.assign(req, { auth: { user: 'ann', tenant: 'acme', expiresAt: Number.POSITIVE_INFINITY, claims: {} } })
        next()
      })
      app.use('/chat', conversationStreams({ multiplexer, authorize: () => 'yes' as unknown as boolean }))
      app.use(sseErrors({ onError: null }))
      const server = await serve(app)
      stops.push(() => server.stop())
      const open = async (path: string, headers = {}): Promise<SseClient> => {
        const client = await SseClient.open(`${server.url}${path}`, headers)
        stops.push(() => client.close())
        return client
      }

      const client = await open('/orders?window=50')
      const { data } = await client.control('sse.open')
      const start = client.lastEventId
      await multiplexer.publishMany('orders', [{ data: 1 }, { data: 2 }, { data: 3 }])
      multiplexer.offer('orders', { data: 4 })
      await client.messagesUntil(4)
      const ack = { stream: JSON.parse(data).stream, cursor: client.lastEventId, buffer: 0.5, latencyMs: 3 }
      await fetch(`${server.url}/ack`, { method: 'POST', body: JSON.stringify(ack) })
      const late = await open('/orders', { 'last-event-id': start })
      await late.messagesUntil(2)
      await fetch(`${server.url}/poll`)
      await fetch(`${server.url}/orders`, { method: 'DELETE' })
      await fetch(`${server.url}/chat/messages/1`)
      await (await open('/failing')).ended()
    }

    async function exerciseRedis(): Promise<void> {
      const redis = await RedisServer.start()
      stops.push(() => redis.stop())
      const multiplexer = createMultiplexer({ redis: redis.url })
      stops.push(() => multiplexer.close())
      const limiter = rateLimit({ by: 'ip', points: 10, duration: 60, redis: redis.url })
      stops.push(() => limiter.close())
      const app = express().use(limiter, (_req, res) => void res.end())
      const server = await serve(app)
      stops.push(() => server.stop())
      await fetch(server.url)
      await multiplexer.publish('orders', { data: 1 })
    }
  })
})

describe('the documents', () => {
  it('name only files that exist', async () => {
    const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md']
    for (const page of await readdir(join(root, 'docs'))) if (page.endsWith('.md')) pages.push(`docs/${page}`)
    const missing: string[] = []
    for (const page of pages) {
      const text = await readFile(join(root, page), 'utf8')
      const named = [...text.matchAll(/`((?:lib|test|bench|example)\/[\w./-]+)`/g)].map(([, name = '']) => name)
      const linked = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, name = '']) => join(page, '..', name))
      for (const name of [...named, ...linked]) if (!existsSync(join(root, name))) missing.push(`${page}: ${name}`)
    }
    expect(missing).to.deep.equal([])
  })
})
