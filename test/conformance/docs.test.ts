import { readFile, writeFile } from 'node:fs/promises'
import { expect } from 'chai'
import { BEGIN, END, printDifferences } from './docs.js'

const PAGE = new URL('../../docs/interop.md', import.meta.url)

describe('docs/interop.md, of the kit’s own client', () => {
  it('lists the differences from the standard that the tests assert', async () => {
    const page = await readFile(PAGE, 'utf8')
    const [before = '', rest = ''] = page.split(BEGIN)
    const [printed = '', after = ''] = rest.split(END)
    if (process.env.UPDATE_DOCS === '1') await writeFile(PAGE, `${before}${printDifferences()}${after}`)
    else expect(`${BEGIN}${printed}${END}`).to.equal(printDifferences())
  })
})
