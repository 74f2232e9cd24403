import { runKit } from './clients.js'
import { ScriptServer } from './script-server.js'
import { conformanceSuite } from './suite.js'

describe('the client by fetch in Node, compared with the standard:', () => {
  let server: ScriptServer
  before(async () => {
    server = await ScriptServer.start()
  })
  after(() => server.stop())

  conformanceSuite(
    'kit',
    ({ url }, options) => runKit(url, options),
    () => server,
  )
})
