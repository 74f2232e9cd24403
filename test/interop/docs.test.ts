import { readFile, writeFile } from 'node:fs/promises'
import { expect } from 'chai'
import { BEGIN, END, printClients } from './docs.js'

const PAGE = new URL('../../docs/interop.md', import.meta.url)

describe('docs/interop.md', () => {
  it('has the behaviour of each client as the tests assert it, and the installed version', async () => {
    const page = await readFile(PAGE, 'utf8')
    const [before = '', rest = ''] = page.split(BEGIN)
    const [printed = '', after = ''] = rest.split(END)
    if (process.env.UPDATE_DOCS === '1') await writeFile(PAGE, `${before}${printClients()}${after}`)
    else expect(`${BEGIN}${printed}${END}`).to.equal(printClients())
  })
})
