"""The BibTeX entries of the sets."""

__all__ = ["COUNTERFACT", "HOTPOTQA", "POPQA", "SQUAD", "XQUAD"]

SQUAD = """@inproceedings{rajpurkar2016squad,
  title = {{SQuAD}: 100,000+ Questions for Machine Comprehension of Text},
  author = {Rajpurkar, Pranav and Zhang, Jian and Lopyrev, Konstantin and Liang, Percy},
  booktitle = {Proceedings of the 2016 Conference on Empirical Methods in Natural Language Processing},
  year = {2016},
  doi = {10.18653/v1/D16-1264},
  eprint = {1606.05250},
  archivePrefix = {arXiv}
}"""

XQUAD = """@inproceedings{artetxe2020crosslingual,
  title = {On the Cross-lingual Transferability of Monolingual Representations},
  author = {Artetxe, Mikel and Ruder, Sebastian and Yogatama, Dani},
  booktitle = {Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics},
  year = {2020},
  doi = {10.18653/v1/2020.acl-main.421},
  eprint = {1910.11856},
  archivePrefix = {arXiv}
}"""

POPQA = """@inproceedings{mallen2023trust,
  title = {When Not to Trust Language Models: Investigating Effectiveness of Parametric and Non-Parametric Memories},
  author = {Mallen, Alex and Asai, Akari and Zhong, Victor and Das, Rajarshi and Khashabi, Daniel
            and Hajishirzi, Hannaneh},
  booktitle = {Proceedings of the 61st Annual Meeting of the Association for Computational Linguistics},
  year = {2023},
  doi = {10.18653/v1/2023.acl-long.546},
  eprint = {2212.10511},
  archivePrefix = {arXiv}
}"""

HOTPOTQA = """@inproceedings{yang2018hotpotqa,
  title = {{HotpotQA}: A Dataset for Diverse, Explainable Multi-hop Question Answering},
  author = {Yang, Zhilin and Qi, Peng and Zhang, Saizheng and Bengio, Yoshua and Cohen, William W.
            and Salakhutdinov, Ruslan and Manning, Christopher D.},
  booktitle = {Proceedings of the 2018 Conference on Empirical Methods in Natural Language Processing},
  year = {2018},
  doi = {10.18653/v1/D18-1259},
  eprint = {1809.09600},
  archivePrefix = {arXiv}
}"""

COUNTERFACT = """@inproceedings{meng2022locating,
  title = {Locating and Editing Factual Associations in {GPT}},
  author = {Meng, Kevin and Bau, David and Andonian, Alex and Belinkov, Yonatan},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {35},
  year = {2022},
  eprint = {2202.05262},
  archivePrefix = {arXiv}
}"""
