import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { multiplexerSuite } from '../suites/multiplexer.js'

multiplexerSuite('memory', (options) => createMultiplexer(options))
