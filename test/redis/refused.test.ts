import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { RedisServer } from '../helpers/redis-server.js'

describe('a Redis that refuses commands', () => {
  let server: RedisServer

  before(async () => {
    server = await RedisServer.start()
  })

  after(() => server.stop())

  it('prints one warning per cause, even if limits continue without Redis', async () => {
    const admin = new Redis(server.port)
    await admin.acl('SETUSER', 'poor', 'on', '>poor', '~*', '&*', '-@all', '+ping', '+info', '+client', '+select')
    admin.disconnect()
    const script = fileURLToPath(new URL('refused-process.ts', import.meta.url))
    const url = `redis://poor:poor@127.0.0.1:${server.port}`
    const { stderr } = await promisify(execFile)(process.execPath, ['--import=tsx', script, url])
    const warnings = stderr.match(/SSE_REDIS_REFUSED.*/g) ?? []
    expect(warnings.join('\n'))
      .to.match(/NOPERM.*'eval/)
      .and.match(/NOPERM.*'set'/)
    expect(new Set(warnings)).to.have.length(warnings.length)
  })
})
