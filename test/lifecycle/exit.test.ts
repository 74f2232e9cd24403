import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { RedisCluster } from '../helpers/redis-cluster.js'
import { RedisServer } from '../helpers/redis-server.js'

const SCRIPT = fileURLToPath(new URL('whole-kit.ts', import.meta.url))

describe('a process that closes all of the kit', function () {
  this.timeout(60_000)

  /** Runs the script; one that does not end is killed. */
  async function run(urls: readonly string[]): Promise<void> {
    const child = spawn(process.execPath, ['--import', 'tsx', SCRIPT, ...urls], { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString()
      })
    }
    const patience = setTimeout(() => child.kill('SIGKILL'), 30_000)
    const [code, signal] = await once(child, 'close')
    clearTimeout(patience)
    expect({ output, code, signal }).to.deep.equal({ output: 'closed', code: 0, signal: null })
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
})
