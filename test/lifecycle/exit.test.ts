import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { createMultiplexer } from '../../lib/index.js'
import { RedisCluster } from '../helpers/redis-cluster.js'
import { RedisServer } from '../helpers/redis-server.js'
import { script } from '../helpers/script.js'

const WHOLE_KIT = new URL('whole-kit.ts', import.meta.url)
const PUBLISH_ONLY = new URL('publish-only.ts', import.meta.url)
const WORKER = new URL('worker.ts', import.meta.url)
const CUT_OFF = new URL('cut-off.ts', import.meta.url)

/**
 * Runs a script, which must exit with code 0. A script that does not exit is killed.
 * @param onReady called when the script has printed `ready`; then the input of the script ends
 */
async function outputOf(source: URL, args: readonly string[], onReady: () => void = () => undefined): Promise<string> {
  const child = spawn(process.execPath, [await script(source), ...args], { stdio: 'pipe' })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    if (output !== 'ready ') return
    onReady()
    child.stdin.end()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  const patience = setTimeout(() => child.kill('SIGKILL'), 30_000)
  const [code, signal] = await once(child, 'close')
  clearTimeout(patience)
  expect({ code, signal }, errors).to.deep.equal({ code: 0, signal: null })
  return output
}

describe('a process that closes every part of the kit', function () {
  this.timeout(60_000)

  const run = async (urls: readonly string[]): Promise<void> => {
    expect(await outputOf(WHOLE_KIT, urls)).to.equal('closed')
  }

  it('ends by itself, embedded', () => run([]))

  it('ends by itself, on Redis', async () => {
    const server = await RedisServer.start()
    try {
      await run([server.url])
    } finally {
      await server.stop()
    }
  })

  it('ends by itself, on a cluster', async () => {
    const cluster = await RedisCluster.start()
    try {
      await run(cluster.urls)
    } finally {
      await cluster.stop()
    }
  })

  for (const [title, pauseFirst] of [
    ['fall silent before it closes', false],
    ['never answer', true],
  ] as const) {
    it(`ends by itself if servers ${title}, which never close their side of a connection`, async () => {
      const [server, cluster] = [await RedisServer.start(), await RedisCluster.start()]
      const servers = [server, ...[0, 1, 2].map((master) => cluster.server(master))]
      const pause = () => {
        for (const each of servers) each.pause()
      }
      try {
        for (const urls of [[server.url], cluster.urls]) {
          if (pauseFirst) pause()
          expect(await outputOf(CUT_OFF, urls, pause)).to.equal('ready closed')
          for (const each of servers) each.resume()
        }
      } finally {
        await Promise.all([server.stop(), cluster.stop()])
      }
    })
  }
})

describe('a process that only publishes', function () {
  this.timeout(60_000)

  it('opens one connection, ends without close, and publishes the accepted events', async () => {
    const server = await RedisServer.start()
    const admin = new Redis(server.url)
    try {
      expect(await outputOf(PUBLISH_ONLY, [server.url])).to.equal('published')
      expect(await admin.xlen('sse:{orders}:s')).to.equal(2)
      const connections = /total_connections_received:(\d+)/.exec(await admin.info('stats'))?.[1]
      // The check of the helper, the connection of this test, and the connection of the process.
      expect(Number(connections)).to.equal(3)
    } finally {
      admin.disconnect()
      await server.stop()
    }
  })
})

describe('an embedded multiplexer', function () {
  this.timeout(60_000)

  it('warns once in a worker of a cluster', async () => {
    expect(await outputOf(WORKER, [])).to.equal('SSE_EMBEDDED_IN_CLUSTER;')
  })

  for (const [title, env, warnings] of [
    ['one of several instances of PM2', { NODE_APP_INSTANCE: '1', instances: '4' }, 1],
    ['the only instance of PM2', { NODE_APP_INSTANCE: '0', instances: '1' }, 0],
    ['a single process', {}, 0],
  ] as const) {
    it(`warns ${warnings === 0 ? 'not' : 'once'} in ${title}`, async () => {
      const saved = { ...process.env }
      const codes: unknown[] = []
      const record = (warning: Error) => codes.push((warning as { code?: string }).code)
      process.on('warning', record)
      Object.assign(process.env, env)
      try {
        await createMultiplexer().close()
        await new Promise(setImmediate)
      } finally {
        process.off('warning', record)
        for (const name of ['NODE_APP_INSTANCE', 'instances']) {
          if (saved[name] === undefined) delete process.env[name]
          else process.env[name] = saved[name]
        }
      }
      expect(codes).to.deep.equal(Array(warnings).fill('SSE_EMBEDDED_IN_CLUSTER'))
    })
  }
})
