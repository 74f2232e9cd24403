import { expect } from 'chai'
import { eventually } from '../helpers/eventually.js'
import { CLIENTS, type NodeClient } from './clients.js'
import type { Connection } from './connection.js'
import { hasCurl, NODE_CLIENTS, openCurl, openLaunchDarkly } from './node-clients.js'
import { InteropServer } from './server.js'
import { interopSuite } from './suite.js'

const describeCurl = hasCurl ? describe : describe.skip
const WITHOUT_CURL = hasCurl ? '' : ' (skipped: curl is not installed)'

describe('the server and common clients', () => {
  for (const [name, open] of Object.entries(NODE_CLIENTS)) {
    const isCurl = name === 'curl'
    const group = isCurl ? describeCurl : describe
    group(`${name}${isCurl ? WITHOUT_CURL : ''}`, () => {
      interopSuite(CLIENTS[name as NodeClient], (_, url, options) => open(url, options))
    })
  }

  describe('notes of the table', () => {
    let server: InteropServer
    let connection: Connection | undefined

    afterEach(async () => {
      await connection?.close()
      await server.stop()
    })

    it('launchdarkly-eventsource accepts any certificate by default', async () => {
      server = await InteropServer.start({ http: '1 over TLS' })
      connection = await openLaunchDarkly(`${server.url}/stream`)
      await eventually(async () => (await connection?.seen())?.[0]?.type === 'sse.open')
    })

    const itCurl = hasCurl ? it : it.skip

    itCurl('curl --retry waits for the time in Retry-After', async () => {
      server = await InteropServer.start({ pauseMs: 77_000 })
      server.press()
      const curl = await openCurl(`${server.url}/refused-by-status`, { args: ['--retry', '1'] })
      connection = curl
      await eventually(() => curl.stderr.includes('Will retry'))
      expect(curl.stderr).to.match(/Will retry in 77(\.0+)? seconds/)
    })

    itCurl('curl resumes from a Last-Event-ID given as a header', async () => {
      server = await InteropServer.start()
      await server.publish([{ data: 1 }, { data: 2 }])
      const [first] = server.published
      connection = await openCurl(`${server.url}/stream`, { args: ['--header', `Last-Event-ID: ${first?.id}`] })
      await eventually(async () => (await connection?.seen())?.length === 2)
      expect((await connection.seen())[1]).to.deep.equal(server.published[1])
    })
  })
})
